// The loops of a program, nested, and an order in which everything is seen after what leads to it.
//
// A loop is a strongly connected part of a function's instructions, with a head through which it is entered. Without
// the head, what is left of the part may hold loops again: those inside. The order puts every instruction behind those
// that lead to it, but for the way back to a head, and a loop's instructions next to each other; so who works in this
// order is done with a loop before looking at what follows it.
// Source: Bourdoncle, "Efficient chaotic iteration strategies with widenings" (1993): weak topological order.
#pragma once
#include <array>
#include <span>
#include <vector>

#include "verify/analysis.hpp"
#include "verify/verify.hpp"

namespace skep::verify {

struct Loop {
  u32 head = 0;
  std::vector<u32> body;  ///< its instructions, head and inner loops included
  s32 outer = -1;         ///< index of the loop around it, or -1
};

struct Loops {
  std::vector<u32> position;  ///< by instruction: its place in the order
  std::vector<Loop> loops;    ///< outer ones first
  bool too_deep = false;      ///< nested deeper than is looked at: `loops` is not complete
};

/// Instructions that may follow `insn` inside its function.
struct Successors {
  std::array<u32, 2> insns{};
  u32 count = 0;
  const u32* begin() const { return insns.data(); }
  const u32* end() const { return insns.data() + count; }
};
Successors successors(const ProgramSpec& program, const Analysis& analysis, u32 insn);

/// `proofs`: ways that no path took are left out; empty: every way counts.
Loops find_loops(const ProgramSpec& program, const Analysis& analysis, std::span<const InsnProof> proofs);

}  // namespace skep::verify
