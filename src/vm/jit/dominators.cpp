// Dominators and natural loops (see dominators.hpp).
#include "vm/jit/dominators.hpp"

#include <algorithm>

namespace skep::vm::ir {

Dominators::Dominators(const Function& f)
    : rank_(f.blocks.size(), unreached),
      parent_(f.blocks.size(), no_block),
      first_(f.blocks.size(), 1),
      last_(f.blocks.size(), 0) {
  walk(f);
  std::vector<u32> passed(f.blocks.size(), 0);  // by block: the visit that last did
  u32 visit = 0;
  for (bool changed = true; changed;) {
    changed = false;
    for (const BlockId b : order_) {
      BlockId best = no_block;
      visit++;
      for (const BlockId p : f.blocks[b].predecessors) {
        if (!reachable(p) || (p != 0 && parent_[p] == no_block)) continue;
        best = best == no_block ? p : meet_below(best, p, visit, passed);
      }
      if (b != 0 && parent_[b] != best) {
        parent_[b] = best;
        changed = true;
      }
    }
  }
  number();
}

void Dominators::walk(const Function& f) {
  struct Visit {
    BlockId block;
    u32 next;
  };
  std::vector<Visit> stack{{0, 0}};
  rank_[0] = 0;
  while (!stack.empty()) {
    auto& [block, next] = stack.back();
    const auto& successors = f.blocks[block].successors;
    if (next == successors.size()) {
      order_.push_back(block);
      stack.pop_back();
      continue;
    }
    const BlockId to = successors[next++];
    if (rank_[to] != unreached) continue;
    rank_[to] = 0;
    stack.push_back({to, 0});
  }
  std::ranges::reverse(order_);
  for (u32 i = 0; i < order_.size(); i++) rank_[order_[i]] = i;
}

/// meet(best, p) for one predecessor of a block after the other. What an earlier one of this visit passed on its way up
/// lies below `best`, so a block with many predecessors deep in the tree does not climb it for each of them.
BlockId Dominators::meet_below(BlockId best, BlockId p, u32 visit, std::vector<u32>& passed) const {
  while (p != best) {
    if (rank_[p] < rank_[best]) {
      passed[best] = visit;
      best = parent_[best];
      continue;
    }
    if (passed[p] == visit) return best;
    passed[p] = visit;
    p = parent_[p];
  }
  return best;
}

BlockId Dominators::meet(BlockId a, BlockId b) const {
  while (a != b) {
    while (rank_[a] > rank_[b]) a = parent_[a];
    while (rank_[b] > rank_[a]) b = parent_[b];
  }
  return a;
}

/// Intervals of a depth-first walk over the tree, without building child lists: sizes bottom-up, places top-down.
void Dominators::number() {
  std::vector<u32> size(rank_.size(), 1);
  for (auto it = order_.rbegin(); it != order_.rend(); ++it)
    if (*it != 0) size[parent_[*it]] += size[*it];
  std::vector<u32> next(rank_.size(), 0);
  for (const BlockId b : order_) {
    first_[b] = b == 0 ? 0 : next[parent_[b]];
    if (b != 0) next[parent_[b]] += size[b];
    next[b] = first_[b] + 1;
    last_[b] = first_[b] + size[b] - 1;
  }
}

}  // namespace skep::vm::ir
