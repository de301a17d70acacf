// The optimiser's passes. Each takes a function that keeps the rules of ir.hpp and leaves one that does.
#pragma once
#include "vm/jit/ir.hpp"

namespace skep::vm::ir {

/// Which counts of bits the CPU has instructions for.
struct Counts {
  bool popcount = false, leading_zeros = false;
};

/// Rebuilds every instruction through the Maker's rules with global value numbering; removes superfluous phis,
/// branches whose outcome is known (from constants, or from a branch above), and what became unreachable.
void simplify(Function& f);
/// Removes instructions without effect whose result nobody uses.
void sweep(Function& f);
/// Joins blocks that follow each other without a choice, and skips blocks that only jump on.
void merge_blocks(Function& f);
/// Memory of the frame that nothing but loads and stores of it touches becomes values.
void promote_frame(Function& f);
/// Byte-wise loads combined by shifts become one wide load, byte-swapped where the order says so.
void fuse_loads(Function& f);
/// Counting set bits or leading zeros, as it is spelt with shifts and masks, becomes one instruction where the CPU has
/// it.
void recognise_counts(Function& f, Counts counts);
/// Short branches around cheap computations become select.
void convert_branches(Function& f);
/// Selects of one condition stand together, so that one comparison serves them all.
void group_selects(Function& f);
/// Trees of comparisons of one value with constants become a switch.
void recover_switches(Function& f);

/// What a loop computes anew in every round moves in front of it, where that is worth a register.
void hoist_invariants(Function& f);

struct Pass {
  const char* name;
  void (*run)(Function&, Counts);
};
/// All of them, in order; some run twice.
std::span<const Pass> passes();
void optimise(Function& f, Counts counts);

}  // namespace skep::vm::ir
