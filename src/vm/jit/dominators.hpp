// Which block must be passed to reach which.
//
// Source: Cooper, Harvey, Kennedy, "A Simple, Fast Dominance Algorithm" (2001). Intervals of a walk over the tree
// answer dominates() in constant time.
#pragma once
#include "vm/jit/ir.hpp"

namespace skep::vm::ir {

class Dominators {
 public:
  explicit Dominators(const Function& f);

  /// Reachable blocks, every block after those that dominate it.
  std::span<const BlockId> reverse_postorder() const { return order_; }
  bool reachable(BlockId b) const { return rank_[b] != unreached; }
  /// Position in reverse_postorder().
  u32 rank(BlockId b) const { return rank_[b]; }
  /// no_block for the entry.
  BlockId parent(BlockId b) const { return parent_[b]; }
  /// Both must be reachable; a block dominates itself.
  bool dominates(BlockId a, BlockId b) const { return first_[a] <= first_[b] && last_[b] <= last_[a]; }
  /// The nearest block that dominates both.
  BlockId meet(BlockId a, BlockId b) const;

 private:
  static constexpr u32 unreached = ~u32{0};
  void walk(const Function& f);
  BlockId meet_below(BlockId best, BlockId p, u32 visit, std::vector<u32>& passed) const;
  void number();

  std::vector<BlockId> order_;
  std::vector<u32> rank_;
  std::vector<BlockId> parent_;
  std::vector<u32> first_, last_;
};

}  // namespace skep::vm::ir
