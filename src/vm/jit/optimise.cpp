// The order of the passes (see passes.hpp).
#include "vm/jit/passes.hpp"

namespace skep::vm::ir {

void optimise(Function& f, Counts counts) {
  simplify(f);
  sweep(f);
  merge_blocks(f);
  fuse_loads(f);
  recognise_counts(f, counts);
  convert_branches(f);
  merge_blocks(f);
  recover_switches(f);
  // The second round sees the selects and switches, and phis that lost edges.
  simplify(f);
  sweep(f);
  merge_blocks(f);
  group_selects(f);
}

}  // namespace skep::vm::ir
