// See support.hpp. Programs are compiled into a temporary directory that is gone when the spec is read.
#include "support.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "base/mapped_file.hpp"
#include "btf/btf.hpp"
#include "kernel/access.hpp"

namespace skep::kernel_test {

namespace {

std::string clang() {
  for (const char* name : {"clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14", "clang"})
    if (std::system(fmt::format("command -v {} >/dev/null 2>&1", name).c_str()) == 0) return name;
  return {};
}

/// Where the test programs lie compiled, on a machine that has no compiler (tests/kernels), or "".
std::string ready_objects() {
  const char* directory = std::getenv("SKEP_TEST_OBJECTS");
  return directory != nullptr ? directory : "";
}

}  // namespace

std::string why_not() {
  if (!kernel::capabilities().may_trace()) return "this process lacks CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN)";
  if (!ready_objects().empty()) return {};
  if (clang().empty()) return "clang is not installed, which compiles the test programs";
  if (!std::filesystem::exists("/usr/include/bpf/bpf_helpers.h"))
    return "libbpf-dev is not installed (bpf/bpf_helpers.h)";
  return {};
}

Result<ObjectSpec> compile(const std::string& name) {
  if (const auto ready = ready_objects(); !ready.empty())
    return ObjectSpec::from_file(fmt::format("{}/{}.o", ready, name));
  char directory[] = "/tmp/skep-kernel-test-XXXXXX";
  if (::mkdtemp(directory) == nullptr) return fail(Code::io, "mkdtemp");
  const std::string object = fmt::format("{}/{}.o", directory, name);
  const std::string command = fmt::format(
      "{} -target bpf -O2 -g -Wall -D__TARGET_ARCH_x86 -I/usr/include/x86_64-linux-gnu -c {}/{}.bpf.c -o {} 2>&1",
      clang(), SKEP_TEST_PROGRAMS, name, object);
  const auto said = output_of(command);
  auto spec = said ? ObjectSpec::from_file(object)
                   : fail(Code::invalid_argument, "the test program does not compile: " + command);
  std::filesystem::remove_all(directory);
  return spec;
}

void set_global(ObjectSpec& spec, std::string_view name, std::span<const std::byte> value) {
  for (u32 id = 1; id < spec.btf->type_count(); ++id) {
    const auto section = spec.btf->type(id);
    if (section.kind != btf::Kind::datasec) continue;
    for (const auto& variable : spec.btf->section_vars(section)) {
      if (spec.btf->type(variable.type_id).name != name) continue;
      for (MapSpec& map : spec.maps)
        if (map.is_global_data && map.btf_value_type_id == id) {
          if (map.initial_value.size() < map.value_size) map.initial_value.resize(map.value_size);
          ASSERT_LE(variable.offset + value.size(), map.initial_value.size());
          std::copy(value.begin(), value.end(), map.initial_value.begin() + variable.offset);
          return;
        }
    }
  }
  FAIL() << "no global variable " << name;
}

namespace {
/// Whether a process sleeps in a system call and has left its CPU. The letter behind its name in /proc/PID/stat comes
/// earlier: on a busy machine a task that is about to sleep may wait for milliseconds before it gets to that. For
/// /proc/PID/syscall the kernel waits until the task is off the queue, or says that it runs.
bool is_asleep(int pid) {
  const auto stat = base::read_text(fmt::format("/proc/{}/stat", pid));
  const auto name_end = stat ? stat->rfind(") ") : std::string::npos;
  if (name_end == std::string::npos || (*stat)[name_end + 2] != 'S') return false;
  const auto call = base::read_text(fmt::format("/proc/{}/syscall", pid));
  return !call || !call->starts_with("running");
}
}  // namespace

Child::Child(void (*work)()) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
  pid_ = ::fork();
  if (pid_ == 0) {
    ::close(ends[1]);
    char byte = 0;
    if (::read(ends[0], &byte, 1) == 1) work();
    ::_exit(0);
  }
  ::close(ends[0]);
  go_ = ends[1];
  // Its first steps on a busy machine may come late: what is attached meanwhile would count them.
  while (pid_ > 0 && !is_asleep(pid_)) ::usleep(100);
}

Child::~Child() {
  if (go_ >= 0) ::close(go_);  // it ends by itself when nobody can tell it to go
  if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
}

bool Child::run() {
  const char byte = 1;
  const bool told = ::write(go_, &byte, 1) == 1;
  ::close(go_);
  go_ = -1;
  int status = -1;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  return told && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

u64 counter(const Object& object, std::string_view map, u32 index) {
  const auto handle = object.map(map);
  if (!handle) return ~u64{0};
  return handle->get<u64>(index).value_or(~u64{0});
}

std::optional<std::string> output_of(const std::string& command) {
  std::FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return std::nullopt;
  std::string text;
  char buffer[4096];
  while (const std::size_t got = std::fread(buffer, 1, sizeof buffer, pipe)) text.append(buffer, got);
  if (::pclose(pipe) != 0) {
    std::fputs(text.c_str(), stderr);
    return std::nullopt;
  }
  return text;
}

void KernelEngine::SetUp() {
  if (const auto reason = why_not(); !reason.empty()) GTEST_SKIP() << "kernel engine: " << reason;
  auto made = kernel_backend();
  ASSERT_OK(made);
  backend = *std::move(made);
}

}  // namespace skep::kernel_test
