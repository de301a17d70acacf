// sweep and merge_blocks (see passes.hpp).
#include <algorithm>

#include "vm/jit/dominators.hpp"
#include "vm/jit/passes.hpp"

namespace skep::vm::ir {

void sweep(Function& f) {
  std::vector<bool> used(f.insns.size(), false);
  std::vector<Value> work;
  for (const auto& block : f.blocks)
    for (const Value v : block.insns)
      if (const Effect e = row(f.insns[v].op).effect; e == Effect::writes || e == Effect::leaves) {
        used[v] = true;
        work.push_back(v);
      }
  while (!work.empty()) {
    const Value v = work.back();
    work.pop_back();
    for (const Value operand : f.operands_of(v)) {
      if (used[operand]) continue;
      used[operand] = true;
      work.push_back(operand);
    }
  }
  for (auto& block : f.blocks) std::erase_if(block.insns, [&](Value v) { return !used[v]; });
}

namespace {

void replace(std::vector<BlockId>& list, BlockId from, BlockId to) { std::ranges::replace(list, from, to); }

/// `b` ends with a jump to a block that nothing else leads to: they become one.
bool absorb(Function& f, BlockId b) {
  Block& block = f.blocks[b];
  if (block.insns.empty() || f.insns[block.insns.back()].op != Op::jump) return false;
  const BlockId next = block.successors[0];
  Block& after = f.blocks[next];
  if (next == b || next == 0 || after.predecessors.size() != 1) return false;
  if (!after.insns.empty() && f.insns[after.insns[0]].op == Op::phi) return false;
  block.insns.pop_back();
  for (const Value v : after.insns) f.insns[v].block = b;
  block.insns.insert(block.insns.end(), after.insns.begin(), after.insns.end());
  block.successors = std::move(after.successors);
  for (const BlockId s : block.successors) replace(f.blocks[s].predecessors, next, b);
  after = {};
  return true;
}

/// `b` holds nothing but a jump: who leads to it leads to its successor, where no phi has to tell them apart.
bool skip(Function& f, BlockId b) {
  Block& block = f.blocks[b];
  if (b == 0 || block.insns.size() != 1 || f.insns[block.insns[0]].op != Op::jump) return false;
  const BlockId next = block.successors[0];
  if (next == b) return false;
  Block& after = f.blocks[next];
  const bool has_phis = f.insns[after.insns[0]].op == Op::phi;
  if (has_phis && block.predecessors.size() != 1) return false;
  for (const BlockId p : block.predecessors)
    if (std::ranges::count(f.blocks[p].successors, next) != 0 || p == b) return false;
  const auto place = std::ranges::find(after.predecessors, b);
  const auto at = place - after.predecessors.begin();
  after.predecessors.erase(place);
  after.predecessors.insert(after.predecessors.begin() + at, block.predecessors.begin(), block.predecessors.end());
  for (const BlockId p : block.predecessors) replace(f.blocks[p].successors, b, next);
  block = {};
  return true;
}

}  // namespace

void merge_blocks(Function& f) {
  for (bool changed = true; changed;) {
    changed = false;
    for (BlockId b = 0; b < f.blocks.size(); b++) {
      while (absorb(f, b)) changed = true;
      if (skip(f, b)) changed = true;
    }
  }
}

}  // namespace skep::vm::ir
