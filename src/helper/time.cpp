// Helpers that tell the time. All clocks are the machine's, so times compare with those of kernel programs.
// Source: kernel/bpf/helpers.c, include/linux/jiffies.h.
#include <time.h>

#include "helper/bind.hpp"

namespace skep::helper {

static u64 nanoseconds(clockid_t clock) noexcept {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

static u64 ktime_get_ns() noexcept { return nanoseconds(CLOCK_MONOTONIC); }
SKEP_BIND(ktime_get_ns)

static u64 ktime_get_boot_ns() noexcept { return nanoseconds(CLOCK_BOOTTIME); }
SKEP_BIND(ktime_get_boot_ns)

static u64 ktime_get_coarse_ns() noexcept { return nanoseconds(CLOCK_MONOTONIC_COARSE); }
SKEP_BIND(ktime_get_coarse_ns)

static u64 ktime_get_tai_ns() noexcept { return nanoseconds(CLOCK_TAI); }
SKEP_BIND(ktime_get_tai_ns)

/// The kernel's tick count. It starts five minutes before the 32-bit counter wraps; a tick is as long as the
/// resolution of the coarse clock, which is how a process learns CONFIG_HZ. The kernel's own begins when its timer
/// does, some ticks after the clock: differences agree, absolute values within about a second.
static u64 jiffies64() noexcept {
  timespec tick{};
  if (::clock_getres(CLOCK_MONOTONIC_COARSE, &tick) != 0 || tick.tv_nsec <= 0) return 0;
  const u64 tick_ns = static_cast<u64>(tick.tv_nsec);
  const u64 ticks_a_second = 1'000'000'000 / tick_ns;
  const u64 initial = (u64{1} << 32) - 300 * ticks_a_second;
  return initial + nanoseconds(CLOCK_MONOTONIC) / tick_ns;
}
SKEP_BIND(jiffies64)

}  // namespace skep::helper
