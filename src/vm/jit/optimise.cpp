// The order of the passes (see passes.hpp).
#include "vm/jit/passes.hpp"

namespace skep::vm::ir {
namespace {

#define SKEP_PASS(name) {#name, [](Function& f, Counts) { name(f); }}

constexpr Pass order[] = {
    SKEP_PASS(simplify),
    SKEP_PASS(sweep),
    SKEP_PASS(merge_blocks),
    SKEP_PASS(promote_frame),
    SKEP_PASS(fuse_loads),
    {"recognise_counts", recognise_counts},
    SKEP_PASS(convert_branches),
    SKEP_PASS(merge_blocks),
    SKEP_PASS(recover_switches),
    // The second round sees the selects and switches, and phis that lost edges.
    SKEP_PASS(simplify),
    SKEP_PASS(sweep),
    SKEP_PASS(merge_blocks),
    SKEP_PASS(hoist_invariants),
    SKEP_PASS(group_selects),
};

#undef SKEP_PASS

}  // namespace

std::span<const Pass> passes() { return order; }

void optimise(Function& f, Counts counts) {
  for (const Pass& pass : order) pass.run(f, counts);
}

}  // namespace skep::vm::ir
