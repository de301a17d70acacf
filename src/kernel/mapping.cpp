// mmap(2) and poll(2) as Results.
#include "kernel/mapping.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "base/fd.hpp"

namespace skep::kernel {

Result<Mapping> Mapping::map(int fd, u64 bytes, int protection, u64 offset) {
  void* data = ::mmap(nullptr, bytes, protection, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (data == MAP_FAILED) return tl::unexpected(base::os_error("mmap"));
  return Mapping(data, bytes);
}

Result<bool> wait_readable(int fd, std::chrono::milliseconds timeout) {
  pollfd waiting{fd, POLLIN, 0};
  const auto limited = std::min<s64>(timeout.count(), std::numeric_limits<int>::max());
  const int ready = ::poll(&waiting, 1, limited < 0 ? -1 : static_cast<int>(limited));
  if (ready < 0 && errno != EINTR) return tl::unexpected(base::os_error("poll"));
  return ready > 0;
}

}  // namespace skep::kernel
