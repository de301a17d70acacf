// The optimiser's passes. Each takes a function that keeps the rules of ir.hpp and leaves one that does.
#pragma once
#include "vm/jit/ir.hpp"

namespace skep::vm::ir {

/// Rebuilds every instruction through the Maker's rules with global value numbering; removes superfluous phis,
/// branches whose outcome is known (from constants, or from a branch above), and what became unreachable.
void simplify(Function& f);
/// Removes instructions without effect whose result nobody uses.
void sweep(Function& f);
/// Joins blocks that follow each other without a choice, and skips blocks that only jump on.
void merge_blocks(Function& f);
/// Byte-wise loads combined by shifts become one wide load, byte-swapped where the order says so.
void fuse_loads(Function& f);
/// Short branches around cheap computations become select.
void convert_branches(Function& f);
/// Trees of comparisons of one value with constants become a switch.
void recover_switches(Function& f);
/// What does not change in a loop is computed before it.
void hoist_invariants(Function& f);

/// All of them, in order.
void optimise(Function& f);

}  // namespace skep::vm::ir
