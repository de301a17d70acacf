// mmap(2) and poll(2) as Results.
#include "kernel/mapping.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "base/fd.hpp"

namespace skep::kernel {

namespace {

Result<bool> wait_for(int fd, short what, std::chrono::milliseconds timeout) {
  pollfd waiting{fd, what, 0};
  const auto limited = std::min<s64>(timeout.count(), std::numeric_limits<int>::max());
  const int ready = ::poll(&waiting, 1, limited < 0 ? -1 : static_cast<int>(limited));
  if (ready < 0 && errno != EINTR) return tl::unexpected(base::os_error("poll"));
  return ready > 0;
}

}  // namespace

Result<Mapping> Mapping::map(int fd, u64 bytes, int protection, u64 offset, u64 address) {
  const int flags = MAP_SHARED | (address != 0 ? MAP_FIXED_NOREPLACE : 0);
  void* data = ::mmap(reinterpret_cast<void*>(address), bytes, protection, flags, fd, static_cast<off_t>(offset));
  if (data == MAP_FAILED) return tl::unexpected(base::os_error("mmap"));
  Mapping mapping(data, bytes);
  if (address != 0 && reinterpret_cast<u64>(data) != address)  // kernels before 4.17 take it as a wish
    return fail(Code::unsupported, "mmap: the wanted address is taken");
  return mapping;
}

Result<bool> wait_readable(int fd, std::chrono::milliseconds timeout) { return wait_for(fd, POLLIN, timeout); }
Result<bool> wait_writable(int fd, std::chrono::milliseconds timeout) { return wait_for(fd, POLLOUT, timeout); }

}  // namespace skep::kernel
