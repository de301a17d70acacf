// See local_task.hpp.
#include "helper/local_task.hpp"

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>

namespace skep::helper {

namespace {

/// A word that differs from one process to the next: fork clears it in the child, which then takes a new number. Null:
/// no memory, or a kernel before 4.14.
std::atomic<u32>* process_word() noexcept {
  static std::atomic<u32>* const word = []() noexcept -> std::atomic<u32>* {
    const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    void* const page = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return nullptr;
    if (::madvise(page, size, MADV_WIPEONFORK) == 0) return ::new (page) std::atomic<u32>(0);
    ::munmap(page, size);
    return nullptr;
  }();
  return word;
}

/// The calling thread's ids. glibc keeps none of them, and two system calls take longer than most programs: they are
/// asked for once in a thread, and again in a forked child.
u64 ids_of_thread() noexcept {
  static constinit std::atomic<u32> processes = 0;
  static constinit thread_local u64 ids = 0;
  static constinit thread_local u32 ids_in = 0;
  std::atomic<u32>* const word = process_word();
  const u32 before = word != nullptr ? word->load(std::memory_order_relaxed) : 0;
  if (before != 0 && before == ids_in) return ids;
  if (before == 0 && word != nullptr) word->store(processes.fetch_add(1) + 1, std::memory_order_relaxed);
  ids = static_cast<u64>(::getpid()) << 32 | static_cast<u32>(::gettid());
  ids_in = word != nullptr ? word->load(std::memory_order_relaxed) : 0;
  return ids;
}

}  // namespace

u64 LocalTask::pid_tgid() noexcept { return ids_of_thread(); }

u64 LocalTask::uid_gid() noexcept { return static_cast<u64>(::getgid()) << 32 | ::getuid(); }

void LocalTask::comm(char (&comm)[16]) noexcept {
  std::memset(comm, 0, sizeof comm);
  ::prctl(PR_GET_NAME, comm);
}

u32 LocalTask::cpu() noexcept {
  const int cpu = ::sched_getcpu();
  return cpu < 0 ? 0 : static_cast<u32>(cpu);
}

s64 LocalTask::read_user(void* to, u64 address, u32 size) noexcept {
  const iovec local{to, size}, remote{reinterpret_cast<void*>(address), size};  // NOLINT
  return ::process_vm_readv(::getpid(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size) ? 0 : -EFAULT;
}

s64 LocalTask::write_user(u64 address, const void* from, u32 size) noexcept {
  const iovec local{const_cast<void*>(from), size}, remote{reinterpret_cast<void*>(address), size};  // NOLINT
  return ::process_vm_writev(::getpid(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size) ? 0 : -EFAULT;
}

s64 LocalTask::read_kernel(void* to, u64 address, u32 size) noexcept {
  const auto first = reinterpret_cast<u64>(readable_.data());
  if (address < first || address - first > readable_.size() || size > readable_.size() - (address - first))
    return -EFAULT;
  std::memcpy(to, readable_.data() + (address - first), size);
  return 0;
}

}  // namespace skep::helper
