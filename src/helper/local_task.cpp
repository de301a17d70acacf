// See local_task.hpp.
#include "helper/local_task.hpp"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace skep::helper {

u64 LocalTask::pid_tgid() noexcept { return static_cast<u64>(::getpid()) << 32 | static_cast<u32>(::gettid()); }

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
