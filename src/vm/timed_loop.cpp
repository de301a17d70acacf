// The look at the clock. See timed_loop.hpp.
#include "vm/timed_loop.hpp"

#include <time.h>

namespace skep::vm {

u64 look_at_clock(u64 state) noexcept {
  constexpr u32 unit_bits = 18;                               // 0.26 ms; 32 bits of it are 13 days
  constexpr s32 most_units = (250'000'000 >> unit_bits) + 1;  // a quarter of a second, rounded up
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  const u64 ns = static_cast<u64>(time.tv_sec) * 1'000'000'000 + static_cast<u64>(time.tv_nsec);
  const u32 now = static_cast<u32>(ns >> unit_bits);
  u32 start = static_cast<u32>(state >> 32);
  if (start == 0) start = now != 0 ? now : 1;
  const bool is_over = static_cast<s32>(now - start) >= most_units;
  return u64{start} << 32 | (is_over ? timed_loop_over : timed_loop_rounds);
}

u64 look_at_clock_body(void*, u64 state, u64, u64, u64, u64) noexcept { return look_at_clock(state); }

}  // namespace skep::vm
