// See cpu_follower.hpp.
#include "hook/cpu_follower.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace skep::hook {
namespace {

/// The CPU a task last ran on: field 39 of /proc/TID/stat, counted after the name (which may hold anything). -1:
/// unknown.
int last_cpu(u32 tid) noexcept {
  char path[48];
  std::snprintf(path, sizeof path, "/proc/%u/stat", tid);
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  char text[1024];
  const ssize_t size = ::read(fd, text, sizeof text - 1);
  ::close(fd);
  if (size <= 0) return -1;
  text[size] = 0;
  const char* at = std::strrchr(text, ')');
  for (int field = 2; at != nullptr && field < 39; ++field) {
    at = std::strchr(at + 1, ' ');
  }
  return at != nullptr ? std::atoi(at + 1) : -1;
}

}  // namespace

CpuFollower::CpuFollower() noexcept {
  CPU_ZERO(&allowed_);
  enabled_ = ::sched_getaffinity(0, sizeof allowed_, &allowed_) == 0 && CPU_COUNT(&allowed_) > 1;
}

void CpuFollower::follow(u32 tid) noexcept {
  countdown_ = interval;
  const int cpu = last_cpu(tid);
  if (cpu < 0 || cpu == cpu_ || !CPU_ISSET(cpu, &allowed_)) return;
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(cpu, &only);
  if (::sched_setaffinity(0, sizeof only, &only) == 0) cpu_ = cpu;
}

void CpuFollower::leave() noexcept {
  enabled_ = false;
  if (cpu_ >= 0) ::sched_setaffinity(0, sizeof allowed_, &allowed_);
}

}  // namespace skep::hook
