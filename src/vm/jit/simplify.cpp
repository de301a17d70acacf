// Rebuilds a function block by block through the Maker (see passes.hpp).
//
// Walking in reverse postorder, every operand but a phi's is already in its new form when it is needed, so each
// instruction is simplified once with all that is known. Phis are made empty and get their operands at the end. A
// block is remembered with the branch that leads to it, so that a later question about the same condition, or a select
// that asked it, has its answer.
#include <algorithm>

#include "vm/jit/dominators.hpp"
#include "vm/jit/maker.hpp"
#include "vm/jit/passes.hpp"

namespace skep::vm::ir {
namespace {

/// What each phi is, assuming the best and correcting until nothing changes: one value, or itself.
class PhiMeanings {
 public:
  PhiMeanings(const Function& f, const Dominators& dominators) : f_(f), meaning_(f.insns.size(), no_value) {
    std::vector<Value> phis;
    for (const BlockId b : dominators.reverse_postorder())
      for (const Value v : f.blocks[b].insns) {
        if (f.insns[v].op != Op::phi) break;
        phis.push_back(v);
      }
    for (bool changed = true; changed;) {
      changed = false;
      for (const Value v : phis) {
        if (meaning_[v] == v) continue;
        const Value met = meet(v, dominators);
        if (met == meaning_[v]) continue;
        meaning_[v] = meaning_[v] == no_value ? met : v;
        changed = true;
      }
    }
  }
  Value of(Value v) const { return f_.insns[v].op == Op::phi && meaning_[v] != no_value ? meaning_[v] : v; }

 private:
  Value meet(Value phi, const Dominators& dominators) const {
    Value met = no_value;
    const auto operands = f_.operands_of(phi);
    const auto& predecessors = f_.blocks[f_.insns[phi].block].predecessors;
    for (u32 i = 0; i < operands.size(); i++) {
      if (!dominators.reachable(predecessors[i])) continue;
      const Value v = operands[i];
      const Value m = f_.insns[v].op == Op::phi ? meaning_[v] : v;
      if (m == no_value || m == phi || m == met) continue;
      if (met != no_value) return phi;
      met = m;
    }
    return met;
  }

  const Function& f_;
  std::vector<Value> meaning_;
};

class Simplifier {
 public:
  explicit Simplifier(Function& f)
      : f_(f),
        dominators_(f),
        phis_(f, dominators_),
        make_(g_),
        now_(f.insns.size(), no_value),
        alive_(f.blocks.size()) {
    g_.insns.reserve(f.insns.size() + 64);
    g_.operands.reserve(f.operands.size() + 64);
    g_.blocks.resize(f.blocks.size());
    g_.frame_bytes = f.frame_bytes;
    make_.number(dominators_);
  }

  void run() {
    for (const BlockId b : dominators_.reverse_postorder()) {
      if (!is_entered(b)) continue;
      alive_[b] = true;
      make_.enter(b);
      block(b);
    }
    forget_unreached();
    connect();
    fill_phis();
    make_.place_leaves();
    size_phis();
    f_ = std::move(g_);
  }

 private:
  /// Whether an edge that is still there leads to the block. Edges from blocks to come count where they are no back
  /// edges: such a graph is irreducible, and nothing better is known.
  bool is_entered(BlockId b) const {
    if (b == 0) return true;
    return std::ranges::any_of(f_.blocks[b].predecessors, [&](BlockId p) {
      if (!dominators_.reachable(p)) return false;
      if (dominators_.rank(p) >= dominators_.rank(b)) return !dominators_.dominates(b, p);
      return alive_[p] && std::ranges::count(g_.blocks[p].successors, b) != 0;
    });
  }

  void block(BlockId b) {
    for (const Value v : f_.blocks[b].insns) {
      const Inst& inst = f_.insns[v];
      if (inst.op == Op::phi) {
        if (phis_.of(v) == v) now_[v] = make_phi(inst);
        continue;
      }
      operands_.clear();
      for (const Value operand : f_.operands_of(inst)) operands_.push_back(current(operand, b));
      if (row(inst.op).effect == Effect::leaves)
        leave(b, inst);
      else
        now_[v] = refined(make_.remake(inst, operands_), b);
    }
  }

  /// Not through the Maker's place(): two phis of the same operands are not the same before they are filled.
  Value make_phi(const Inst& old) {
    const Value v = g_.add({.op = Op::phi, .bits = old.bits, .block = make_.block()}, {});
    g_.blocks[make_.block()].insns.push_back(v);
    return v;
  }

  /// The new form of an old value, as seen in block `b`.
  Value current(Value old, BlockId b) {
    old = phis_.of(old);
    // An operand on a path that never runs may not have been made.
    if (now_[old] == no_value) return make_.constant(0);
    return refined(now_[old], b);
  }

  /// A select whose condition is decided by the way to `b` is one of its values.
  Value refined(Value v, BlockId b) {
    while (v != no_value && g_.insns[v].op == Op::select) {
      const Inst& inst = g_.insns[v];
      const auto o = g_.operands_of(inst);
      const s8 known = implied(inst.condition, inst.width, o[0], o[1], b);
      if (known < 0) break;
      v = known != 0 ? o[2] : o[3];
    }
    return v;
  }

  /// 1 or 0 when a branch that dominates `b` has decided the condition, else -1.
  s8 implied(Condition c, u8 width, Value a, Value b_value, BlockId b) const {
    u32 steps = 0;
    for (BlockId at = b; at != 0 && at != no_block && steps < 24; at = dominators_.parent(at), steps++) {
      const auto& predecessors = f_.blocks[at].predecessors;
      if (predecessors.size() != 1 || !alive_[predecessors[0]]) continue;
      const Block& from = g_.blocks[predecessors[0]];
      if (from.successors.size() != 2 || from.successors[0] == from.successors[1]) continue;
      const Inst& branch = g_.insns[from.insns.back()];
      if (branch.op != Op::branch) continue;
      const auto o = g_.operands_of(branch);
      const Condition holds = from.successors[0] == at ? branch.condition : inverse(branch.condition);
      if (branch.width == width && o[0] == a && o[1] == b_value) {
        if (holds == c) return 1;
        if (holds == inverse(c)) return 0;
      }
      if (holds == Condition::eq && branch.width == width && o[0] == a && g_.is_constant(o[1]) &&
          g_.is_constant(b_value) && (c == Condition::eq || c == Condition::ne))
        return static_cast<s8>((g_.insns[o[1]].imm == g_.insns[b_value].imm) == (c == Condition::eq));
    }
    return -1;
  }

  void leave(BlockId b, const Inst& inst) {
    auto& successors = g_.blocks[b].successors;
    successors = f_.blocks[b].successors;
    if (inst.op != Op::branch) {
      if (inst.op == Op::switch_ && g_.is_constant(operands_[0])) {
        u64 index = static_cast<u64>(g_.insns[operands_[0]].imm) - static_cast<u64>(inst.imm);
        if (inst.width == 32) index = static_cast<u32>(index);
        successors = {index < successors.size() - 1 ? successors[1 + index] : successors[0]};
        return make_.jump();
      }
      make_.place(inst, operands_);
      return;
    }
    auto made = make_.comparison(inst.condition, inst.width, operands_[0], operands_[1]);
    if (made.known < 0) made.known = implied(made.condition, made.width, made.a, made.b, b);
    if (successors[0] == successors[1]) made.known = 1;
    if (made.known >= 0) {
      successors = {successors[made.known != 0 ? 0 : 1]};
      return make_.jump();
    }
    const Value operands[] = {made.a, made.b};
    make_.place({.op = Op::branch, .width = made.width, .flags = inst.flags, .condition = made.condition}, operands);
  }

  /// A circle of blocks that lost every way in was still taken for one that may be entered.
  void forget_unreached() {
    std::vector<bool> reached(g_.blocks.size());
    std::vector<BlockId> work{0};
    reached[0] = true;
    while (!work.empty()) {
      const BlockId b = work.back();
      work.pop_back();
      for (const BlockId s : g_.blocks[b].successors) {
        if (reached[s]) continue;
        reached[s] = true;
        work.push_back(s);
      }
    }
    for (BlockId b = 0; b < g_.blocks.size(); b++) {
      if (reached[b] || !alive_[b]) continue;
      alive_[b] = false;
      for (const Value v : g_.blocks[b].insns) g_.insns[v].block = no_block;
      g_.blocks[b] = {};
    }
  }

  /// Predecessors that are left, in the old order. A branch whose two ways were one gave up one edge.
  void connect() {
    edges_.resize(f_.blocks.size());
    for (BlockId b = 0; b < f_.blocks.size(); b++) {
      if (!alive_[b]) continue;
      const auto& before = f_.blocks[b].predecessors;
      for (u32 i = 0; i < before.size(); i++) {
        const BlockId p = before[i];
        if (!alive_[p]) continue;
        const auto left = std::ranges::count(g_.blocks[p].successors, b);
        if (std::ranges::count(g_.blocks[b].predecessors, p) >= left) continue;
        g_.blocks[b].predecessors.push_back(p);
        edges_[b].push_back(i);
      }
    }
  }

  void fill_phis() {
    for (const BlockId b : dominators_.reverse_postorder()) {
      if (!alive_[b]) continue;
      for (const Value v : f_.blocks[b].insns) {
        if (f_.insns[v].op != Op::phi) break;
        if (phis_.of(v) != v) continue;
        operands_.clear();
        for (const u32 i : edges_[b])
          operands_.push_back(current(f_.operands[f_.insns[v].first + i], f_.blocks[b].predecessors[i]));
        Inst& phi = g_.insns[now_[v]];
        phi.first = static_cast<u32>(g_.operands.size());
        phi.count = static_cast<u16>(operands_.size());
        g_.operands.insert(g_.operands.end(), operands_.begin(), operands_.end());
      }
    }
  }

  /// How many bits each phi can have: 1, 8, 16, 32 or 64, growing until it holds.
  void size_phis() {
    std::vector<Value> phis;
    for (const BlockId b : dominators_.reverse_postorder())
      for (const Value v : g_.blocks[b].insns)
        if (g_.insns[v].op == Op::phi) phis.push_back(v);
    for (const Value v : phis) g_.insns[v].bits = 1;
    for (bool changed = true; changed;) {
      changed = false;
      for (const Value v : phis) {
        u32 bits = 0;
        for (const Value operand : g_.operands_of(v)) bits = std::max(bits, make_.significant_bits(operand));
        const u8 size = bits <= 1 ? 1 : bits <= 8 ? 8 : bits <= 16 ? 16 : bits <= 32 ? 32 : 64;
        if (size <= g_.insns[v].bits) continue;
        g_.insns[v].bits = size;
        changed = true;
      }
    }
  }

  Function& f_;
  Function g_;
  Dominators dominators_;
  PhiMeanings phis_;
  Maker make_;
  std::vector<Value> now_;  ///< by old value: the new one
  std::vector<bool> alive_;
  std::vector<Value> operands_;
  std::vector<std::vector<u32>> edges_;  ///< by block: which old predecessors are left
};

}  // namespace

void simplify(Function& f) { Simplifier(f).run(); }

}  // namespace skep::vm::ir
