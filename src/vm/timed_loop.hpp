// may_goto: a loop of unknown length ends after a quarter of a second.
//
// Every frame has one 64-bit state: below, the rounds until somebody looks at the clock; above, when its first loop
// looked for the first time. A round takes one from the lower half; only when that becomes 0 (every 65535th) the clock
// is read. So a round costs a decrement and a jump, in every tier. When time is over the rest is one: each may_goto of
// the frame looks and leaves from then on.
//   state = { start : 32, rounds left : 32 },  start in units of 2^18 ns, 0: not yet looked
// Source: Linux 6.18, kernel/bpf/core.c (bpf_check_timed_may_goto), kernel/bpf/verifier.c (BPF_MAX_TIMED_LOOPS).
#pragma once
#include <skep/types.hpp>

namespace skep::vm {

/// Linux BPF_MAX_TIMED_LOOPS: rounds between two looks at the clock.
inline constexpr u32 timed_loop_rounds = 0xffff;
/// What a frame begins with.
inline constexpr u64 timed_loop_begin = timed_loop_rounds;
/// The rounds left in a state whose time is over.
inline constexpr u32 timed_loop_over = 1;

constexpr u32 rounds_left(u64 state) noexcept { return static_cast<u32>(state); }

/// The state after a look at the clock, for one whose rounds are used up.
u64 look_at_clock(u64 state) noexcept;
/// The same in the shape of what machine code calls.
u64 look_at_clock_body(void*, u64 state, u64, u64, u64, u64) noexcept;

/// One may_goto: whether it leaves the loop.
inline bool leaves_timed_loop(u64& state) noexcept {
  if (rounds_left(--state) != 0) [[likely]]
    return false;
  state = look_at_clock(state);
  return rounds_left(state) == timed_loop_over;
}

}  // namespace skep::vm
