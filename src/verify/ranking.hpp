// Why a loop that was not followed round by round ends: something in it moves one way, and has not far to go.
//
// Such a thing is a counter: a register or a stack slot whose low 32 bits grow by one or more (or shrink) on every way
// round the loop, and lie in known bounds whenever its head is reached. Inner loops need counters of their own; when
// each has one, the loops around and inside are done after the product of their rounds. Loops that end by themselves
// (may_goto, iterators) need none.
// One more reason is known: `do x += odd; while (x & mask)`. The low bits of x take every value before one comes again,
// also the one that leaves.
#pragma once
#include <functional>
#include <optional>

#include "verify/loops.hpp"
#include "verify/register.hpp"

namespace skep::verify {

inline constexpr u32 counter_registers = 10, counter_slots = 64;
/// Rounds a loop may have together with those around it: as many as bpf_loop() grants (BPF_MAX_LOOPS).
inline constexpr u64 most_rounds = u64{1} << 23;

/// Register `place`, or stack slot `place` - counter_registers.
using NumberAt = std::function<std::optional<Scalar>(u32 insn, u32 place)>;

struct Ranking {
  const ProgramSpec& program;
  const Analysis& analysis;
  std::span<const InsnProof> proofs;
  std::span<const StackTouch> touches;
  NumberAt number_at;                     ///< what a place can hold when a loop's head is reached; none: not a number
  std::span<const Loop* const> unrolled;  ///< loops that were seen to be left before `unrolled_rounds`, by head
  u64 unrolled_rounds = 0;

  /// The head of a loop that may run too long, or none.
  std::optional<u32> endless_loop() const;
};

}  // namespace skep::verify
