// Why a loop that was not followed round by round ends: something in it moves one way, and has not far to go.
//
// A run that never ends stays, from some time on, in one call of one function, and there goes round one loop for ever
// (calls inside it come back: they are runs of their own, and a helper calls back so many times only). So it is enough
// that each loop has a reason of its own, for as long as its function's frame is the same:
//  - It ends by itself (self_ending.hpp).
//  - Its rounds were kept apart while paths were joined, and came to an end before they were joined.
//  - A counter: a register or stack slot of the frame whose low 32 bits grow by one or more (or shrink) on every way
//    from the loop's head back to it, and lie in known bounds whenever the head is reached, from some round on. The
//    next step from within these bounds does not leave the 32 bits; so the number itself grows, and has so many values
//    only. What the bounds are was explored for every state in which the head is reached; what a round does to the
//    counter is found out here from the instructions alone, and holds for a slot only if nothing else writes to it
//    meanwhile: no pointer, no function, no helper, no other thread (numbers in maps are none of this). It may grow by
//    what a byte of memory says and more, and by itself: i = 2 * i + 1.
//  - `do x += odd; while (x & mask)`: the low bits of x take every value before one comes again, also the one that
//    leaves.
//  - A number of which every round leaves less, as Euclid's algorithm does (shrinking.hpp).
//  - Two numbers that close in on each other (closing_bounds.hpp).
//  - Numbers, or differences of two, that the explored rounds have made less (movement.hpp).
// Loops around and inside need reasons of their own; then they are done after the product of their rounds.
#pragma once
#include "verify/closing_bounds.hpp"
#include "verify/movement.hpp"

namespace skep::verify {

/// Rounds a loop may have together with those around it: as many as bpf_loop() grants (BPF_MAX_LOOPS).
inline constexpr u64 most_rounds = u64{1} << 23;

/// What was found out of a program's loops.
struct Ends {
  std::optional<u32> endless_loop;  ///< head of a loop that may run too long
  /// By instruction: how often it is executed at most in one call of its function. 0: that is not known, because a loop
  /// around it ends by itself.
  std::vector<u64> times;
};

struct Ranking {
  ExploredProgram explored;
  NumberAt number_at;
  std::span<const Loop* const> unrolled;  ///< loops that were seen to be left before `unrolled_rounds`, by head
  u64 unrolled_rounds = 0;
  /// Of a loop, what the places hold when it is entered, at its head. Empty where that was not noted.
  std::function<NumberAt(const Loop& loop)> entry_of;
  /// What is equal at a head whenever number_at() speaks of it.
  std::function<Alike(u32 head)> alike_at;
  /// Of a loop, what each of its rounds did to the registers; null: that was not noted.
  std::function<const Movements*(const Loop& loop)> movements_of;
  /// How often an instruction is reached at most while a loop is not left before number_at() speaks of it.
  std::function<u64(u32 insn)> not_counted;

  Ends ends() const;
};

/// Where paths were followed one by one, and ended where they had been before (converge.cpp): the head of a loop that
/// was closed so and has no end by itself, or none. `closed`: by instruction, see Checker::closed_.
std::optional<u32> closed_without_end(const ExploredProgram& explored, const std::vector<bool>& closed);

}  // namespace skep::verify
