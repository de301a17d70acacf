// A loop as the proof of its end looks at it: the ways that paths took, and what may write to the stack meanwhile.
#pragma once
#include <array>
#include <functional>
#include <span>

#include "verify/loops.hpp"

namespace skep::verify {

inline constexpr u32 counter_registers = 10, counter_slots = 64;
/// A place for numbers: register `place`, or stack slot `place` - counter_registers of the running function.
inline constexpr u32 counter_places = counter_registers + counter_slots;

/// Places that hold equal numbers when a loop's head is reached: of each, the first that it is equal to.
using Alike = std::array<u32, counter_places>;
constexpr Alike all_different() {
  Alike alike{};
  for (u32 p = 0; p < counter_places; p++) alike[p] = p;
  return alike;
}

/// A program after all its paths were explored.
struct ExploredProgram {
  const ProgramSpec& program;
  const Analysis& analysis;
  std::span<const InsnProof> proofs;
  std::span<const StackTouch> touches;
};

class LoopBody {
 public:
  LoopBody(const ExploredProgram& explored, const Loop& loop) : explored_(explored), loop_(loop) {}

  const ExploredProgram& explored() const { return explored_; }
  u32 head() const { return loop_.head; }
  const std::vector<u32>& insns() const { return loop_.body; }
  const Insn& insn(u32 i) const { return explored_.program.insns[i]; }
  const InsnFacts& facts(u32 i) const { return explored_.analysis.insns[i]; }
  isa::Form form(u32 i) const { return isa::row(facts(i).op).form; }
  bool is_inside(u32 i) const;
  u32 function() const { return facts(loop_.head).function; }

  /// Where `i` leads, of the two ways a jump has those that some path took. A jump's first way goes on behind it.
  Successors ways(u32 i) const;
  /// Whether the head leads to the head by ways that are not `closed`(instruction, first or second way).
  bool comes_round(const std::function<bool(u32 insn, u32 way)>& closed) const;

  /// Whether something else than the loop's own plain accesses through r10 may change the slot while the loop runs.
  /// What helpers and called functions write to is in the touches; what this function does outside the loop is not
  /// done meanwhile, since no function runs twice at once.
  bool is_touched(u32 slot) const;

 private:
  const ExploredProgram& explored_;
  const Loop& loop_;
};

}  // namespace skep::verify
