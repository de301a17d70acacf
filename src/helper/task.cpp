// Helpers about the task and the CPU a program runs on behalf of.
// Source: kernel/bpf/helpers.c, kernel/trace/bpf_trace.c.
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "helper/bind.hpp"

namespace skep::helper {

static u64 get_current_pid_tgid(Call& call) noexcept {
  return call.task != nullptr ? call.task->pid_tgid() : static_cast<u64>(-EINVAL);
}
SKEP_BIND(get_current_pid_tgid)

static u64 get_current_uid_gid(Call& call) noexcept {
  return call.task != nullptr ? call.task->uid_gid() : static_cast<u64>(-EINVAL);
}
SKEP_BIND(get_current_uid_gid)

/// The name, cut to the buffer, always terminated, the rest zero.
static s64 get_current_comm(Call& call, WriteMem to) noexcept {
  std::memset(to.data, 0, to.size);
  if (call.task == nullptr) return -EINVAL;
  char comm[16] = {};
  call.task->comm(comm);
  comm[15] = 0;
  if (to.size > 0) std::memcpy(to.data, comm, to.size - 1 < 15 ? to.size - 1 : 15);
  return 0;
}
SKEP_BIND(get_current_comm)

namespace {

struct Namespace {
  u64 device = 0, inode = 0;
};

/// The pid namespace of this process: the only one whose numbers it knows.
Namespace own_pid_namespace() noexcept {
  struct stat status{};
  if (::stat("/proc/self/ns/pid", &status) != 0) return {};
  return {status.st_dev, status.st_ino};
}

/// Parses "0-3,8" and enters `node` for each CPU below `size`.
void enter_cpus(const char* text, u16 node, u16* nodes, u32 size) noexcept {
  while (*text != 0) {
    char* end = nullptr;
    const unsigned long first = std::strtoul(text, &end, 10);
    if (end == text) return;
    unsigned long last = first;
    if (*end == '-') last = std::strtoul(end + 1, &end, 10);
    for (unsigned long cpu = first; cpu <= last && cpu < size; ++cpu) nodes[cpu] = node;
    if (*end != ',') return;
    text = end + 1;
  }
}

/// CPU -> memory node, read once.
struct NumaNodes {
  static constexpr u32 max_cpus = 4096;
  u16 node_of[max_cpus] = {};
  NumaNodes() noexcept {
    for (u16 node = 0; node < 1024; ++node) {
      char path[64] = "/sys/devices/system/node/node", digits[8] = {};
      std::size_t count = 0;
      for (u32 rest = node; count == 0 || rest > 0; rest /= 10) digits[count++] = static_cast<char>('0' + rest % 10);
      std::size_t at = std::strlen(path);
      while (count > 0) path[at++] = digits[--count];
      std::memcpy(path + at, "/cpulist", sizeof "/cpulist");
      const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
      if (fd < 0) return;  // nodes are numbered without gaps except on unusual machines; those report node 0
      char text[2048];
      const ssize_t length = ::read(fd, text, sizeof text - 1);
      ::close(fd);
      text[length > 0 ? length : 0] = 0;
      enter_cpus(text, node, node_of, max_cpus);
    }
  }
};

/// One step of splitmix64: every state gives a different, well-mixed number.
u64 mixed(u64& state) noexcept {
  u64 z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

u64 random_start(const void* thread) noexcept {
  u64 random = 0;
  if (const auto* bytes = reinterpret_cast<const void*>(::getauxval(AT_RANDOM)); bytes != nullptr)
    std::memcpy(&random, bytes, sizeof random);
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return random ^ static_cast<u64>(now.tv_nsec) << 20 ^ static_cast<u64>(now.tv_sec) ^ reinterpret_cast<u64>(thread);
}

}  // namespace

/// pid and tgid as the namespace (dev, ino) of /proc/PID/ns/pid numbers them. Only this process's own is known.
static s64 get_ns_current_pid_tgid(Call& call, u64 device, u64 inode, WriteMem to) noexcept {
  struct Info {
    u32 pid, tgid;
  };
  std::memset(to.data, 0, to.size);
  if (to.size != sizeof(Info) || call.task == nullptr) return -EINVAL;
  static const Namespace own = own_pid_namespace();
  if (inode == 0 || device != own.device || inode != own.inode) return -EINVAL;
  const u64 both = call.task->pid_tgid();
  const Info info{static_cast<u32>(both), static_cast<u32>(both >> 32)};
  std::memcpy(to.data, &info, sizeof info);
  return 0;
}
SKEP_BIND(get_ns_current_pid_tgid)

static u32 get_prandom_u32() noexcept {
  thread_local u64 state = random_start(&state);
  return static_cast<u32>(mixed(state) >> 32);
}
SKEP_BIND(get_prandom_u32)

static u32 get_smp_processor_id() noexcept { return map::current_cpu(); }
SKEP_BIND(get_smp_processor_id)

static u32 get_numa_node_id() noexcept {
  static const NumaNodes nodes;
  const u32 cpu = map::current_cpu();
  return cpu < NumaNodes::max_cpus ? nodes.node_of[cpu] : 0;
}
SKEP_BIND(get_numa_node_id)

static u64 get_attach_cookie(Call& call, const void*) noexcept { return call.attach_cookie; }
SKEP_BIND(get_attach_cookie)

static u64 get_func_ip(Call& call, const void*) noexcept { return call.function_address; }
SKEP_BIND(get_func_ip)

}  // namespace skep::helper
