// convert_branches and recover_switches (see passes.hpp).
//
// eBPF has no conditional move and no jump table, so compilers spell both with branches. Putting them back is decided
// by what native compilers do: a branch around nothing but one or two cheap operations becomes a select (nearly always
// it was one in the source); a tree of at least four comparisons with close constants becomes a table.
#include <algorithm>

#include "vm/jit/meaning.hpp"
#include "vm/jit/passes.hpp"

namespace skep::vm::ir {
namespace {

constexpr u32 most_hoisted = 2;
constexpr u32 most_selects = 3;

bool is_cheap(Op op) {
  return row(op).effect == Effect::pure && op != Op::phi && op != Op::udiv && op != Op::sdiv && op != Op::umod &&
         op != Op::smod && op != Op::mul;
}

class Converter {
 public:
  explicit Converter(Function& f) : f_(f) {}

  void run() {
    for (bool changed = true; changed;) {
      changed = false;
      for (BlockId b = static_cast<BlockId>(f_.blocks.size()); b-- > 0;) changed = convert(b) || changed;
    }
  }

 private:
  /// How many operations stand in a side block before its jump, or ~0 when it cannot be hoisted.
  u32 cost(BlockId side, BlockId from) const {
    const Block& block = f_.blocks[side];
    if (block.predecessors.size() != 1 || block.predecessors[0] != from || block.successors.size() != 1) return ~0u;
    u32 count = 0;
    for (const Value v : block.insns) {
      const Inst& inst = f_.insns[v];
      if (inst.op == Op::jump) break;
      if (!is_cheap(inst.op)) return ~0u;
      count++;
    }
    return count;
  }

  bool convert(BlockId b) {
    Block& block = f_.blocks[b];
    if (block.insns.empty() || f_.insns[block.insns.back()].op != Op::branch) return false;
    const BlockId yes = block.successors[0], no = block.successors[1];
    const u32 yes_cost = cost(yes, b), no_cost = cost(no, b);
    if (yes_cost <= most_hoisted && f_.blocks[yes].successors[0] == no) return join(b, yes, b, no);
    if (no_cost <= most_hoisted && f_.blocks[no].successors[0] == yes) return join(b, b, no, yes);
    if (yes_cost <= most_hoisted && no_cost <= most_hoisted && yes_cost + no_cost <= most_hoisted + 1 &&
        f_.blocks[yes].successors[0] == f_.blocks[no].successors[0])
      return join(b, yes, no, f_.blocks[yes].successors[0]);
    return false;
  }

  u32 edge(BlockId target, BlockId from) const {
    const auto& list = f_.blocks[target].predecessors;
    return static_cast<u32>(std::ranges::find(list, from) - list.begin());
  }

  /// `b` reaches `target` through `on_yes` or `on_no` (one of them may be `b` itself): selects instead.
  bool join(BlockId b, BlockId on_yes, BlockId on_no, BlockId target) {
    if (target == b || std::ranges::count(f_.blocks[target].predecessors, on_yes) != 1 ||
        std::ranges::count(f_.blocks[target].predecessors, on_no) != 1)
      return false;
    const u32 yes_edge = edge(target, on_yes), no_edge = edge(target, on_no);
    u32 selects = 0;
    for (const Value v : f_.blocks[target].insns) {
      if (f_.insns[v].op != Op::phi) break;
      if (f_.operands_of(v)[yes_edge] != f_.operands_of(v)[no_edge]) selects++;
    }
    if (selects == 0 || selects > most_selects) return false;
    auto& insns = f_.blocks[b].insns;
    const Value branch = insns.back();
    insns.pop_back();
    for (const BlockId side : {on_yes, on_no}) {
      if (side == b) continue;
      for (const Value v : f_.blocks[side].insns) {
        if (f_.insns[v].op == Op::jump) break;
        f_.insns[v].block = b;
        insns.push_back(v);
      }
    }
    const Inst condition = f_.insns[branch];
    const Value left = f_.operands_of(branch)[0], right = f_.operands_of(branch)[1];
    // The edge of `keep` stays and belongs to `b` afterwards, the other one goes.
    const u32 keep = std::min(yes_edge, no_edge), drop = std::max(yes_edge, no_edge);
    for (const Value v : f_.blocks[target].insns) {
      if (f_.insns[v].op != Op::phi) break;
      const Value x = f_.operands_of(v)[yes_edge], y = f_.operands_of(v)[no_edge];
      Value joined = x;
      if (x != y) {
        const Value operands[] = {left, right, x, y};
        joined = f_.add({.op = Op::select, .width = condition.width, .condition = condition.condition, .block = b},
                        operands);
        f_.blocks[b].insns.push_back(joined);
      }
      auto values = f_.operands_of(v);
      values[keep] = joined;
      std::copy(values.begin() + drop + 1, values.end(), values.begin() + drop);
      f_.insns[v].count--;
    }
    auto& predecessors = f_.blocks[target].predecessors;
    predecessors[keep] = b;
    predecessors.erase(predecessors.begin() + drop);
    for (const BlockId side : {on_yes, on_no})
      if (side != b) f_.blocks[side] = {};
    f_.blocks[b].successors = {target};
    f_.blocks[b].insns.push_back(f_.add({.op = Op::jump, .block = b}, {}));
    return true;
  }

  Function& f_;
};

/// Inclusive, unsigned at the comparison's width.
struct Interval {
  u64 low, high;
};

/// The numbers below 2^width for which (x condition n) holds.
std::vector<Interval> solutions(Condition c, u32 width, u64 n) {
  const u64 all = low_bits(~u64{0}, width), middle = u64{1} << (width - 1);
  std::vector<Interval> out;
  const auto add = [&](u64 low, u64 high) {
    if (low <= high) out.push_back({low, high});
  };
  switch (c) {
    case Condition::eq:
      add(n, n);
      break;
    case Condition::ne:
      if (n != 0) add(0, n - 1);
      if (n != all) add(n + 1, all);
      break;
    case Condition::ult:
      if (n != 0) add(0, n - 1);
      break;
    case Condition::ule:
      add(0, n);
      break;
    case Condition::ugt:
      if (n != all) add(n + 1, all);
      break;
    case Condition::uge:
      add(n, all);
      break;
    case Condition::slt:
      if (n >= middle) {
        add(middle, n - 1);
        if (n == middle) out.clear();
      } else {
        if (n != 0) add(0, n - 1);
        add(middle, all);
      }
      break;
    case Condition::sge:
      if (n >= middle) {
        add(n, all);
        add(0, middle - 1);
      } else {
        add(n, middle - 1);
      }
      break;
    case Condition::sle:
      return n == middle - 1 ? std::vector<Interval>{{0, all}}
                             : solutions(Condition::slt, width, low_bits(n + 1, width));
    case Condition::sgt:
      return n == middle - 1 ? std::vector<Interval>{} : solutions(Condition::sge, width, low_bits(n + 1, width));
    case Condition::set:
    case Condition::clear:
      break;
  }
  return out;
}

std::vector<Interval> intersection(const std::vector<Interval>& a, const std::vector<Interval>& b) {
  std::vector<Interval> out;
  for (const auto& x : a)
    for (const auto& y : b)
      if (const Interval both{std::max(x.low, y.low), std::min(x.high, y.high)}; both.low <= both.high)
        out.push_back(both);
  return out;
}

class SwitchFinder {
 public:
  explicit SwitchFinder(Function& f) : f_(f) {}

  void run() {
    const auto blocks = static_cast<BlockId>(f_.blocks.size());
    for (BlockId b = 0; b < blocks; b++)
      if (compares(b) && !is_inner(b)) recover(b);
  }

 private:
  static constexpr u32 most_nodes = 256;
  static constexpr u64 most_entries = 1024;

  struct Leaf {
    BlockId from, to;
    std::vector<Interval> numbers;
  };

  bool compares(BlockId b) const {
    const Block& block = f_.blocks[b];
    if (block.insns.empty()) return false;
    const Inst& last = f_.insns[block.insns.back()];
    return last.op == Op::branch && last.condition < Condition::set && f_.is_constant(f_.operands[last.first + 1]) &&
           block.successors[0] != block.successors[1];
  }
  const Inst& branch(BlockId b) const { return f_.insns[f_.blocks[b].insns.back()]; }
  Value subject(BlockId b) const { return f_.operands[branch(b).first]; }
  /// Nothing but a comparison of the same value, reached from one place.
  bool continues(BlockId b, BlockId root) const {
    return compares(b) && f_.blocks[b].insns.size() == 1 && f_.blocks[b].predecessors.size() == 1 &&
           subject(b) == subject(root) && branch(b).width == branch(root).width;
  }
  bool is_inner(BlockId b) const {
    const Block& block = f_.blocks[b];
    return block.predecessors.size() == 1 && compares(block.predecessors[0]) && continues(b, block.predecessors[0]);
  }

  void walk(BlockId b, BlockId root, std::vector<Interval> numbers) {
    nodes_++;
    const Inst& inst = branch(b);
    const u64 n = low_bits(static_cast<u64>(f_.insns[f_.operands[inst.first + 1]].imm), inst.width);
    const Condition conditions[] = {inst.condition, inverse(inst.condition)};
    for (u32 side = 0; side < 2; side++) {
      const BlockId to = f_.blocks[b].successors[side];
      auto part = intersection(numbers, solutions(conditions[side], inst.width, n));
      if (continues(to, root) && nodes_ < most_nodes)
        walk(to, root, std::move(part));
      else
        leaves_.push_back({b, to, std::move(part)});
    }
  }

  void recover(BlockId root) {
    leaves_.clear();
    nodes_ = 0;
    const u32 width = branch(root).width;
    walk(root, root, {{0, low_bits(~u64{0}, width)}});
    if (nodes_ < 4) return;
    // The default is the leaf that covers the most numbers; the table covers what the others do.
    const auto size = [](const Leaf& leaf) {
      long double sum = 0;
      for (const auto& i : leaf.numbers) sum += static_cast<long double>(i.high - i.low) + 1;
      return sum;
    };
    BlockId usual = leaves_[0].to;
    long double most = 0;
    for (const auto& leaf : leaves_) {
      if (const auto s = size(leaf); s > most) {
        most = s;
        usual = leaf.to;
      }
    }
    const bool usual_has_phis = has_phis(usual);
    u64 low = ~u64{0}, high = 0, values = 0;
    u32 usual_leaves = 0;
    for (const auto& leaf : leaves_) {
      if (leaf.to == usual) {
        usual_leaves++;
        continue;
      }
      for (const auto& i : leaf.numbers) {
        low = std::min(low, i.low);
        high = std::max(high, i.high);
        values += i.high - i.low + 1;
      }
    }
    if (values < 4 || high < low || high - low >= most_entries || values * 4 < high - low + 1) return;
    if (usual_has_phis && usual_leaves > 1 && !same_operands(usual)) return;
    rewrite(root, usual, low, high - low + 1);
  }

  bool has_phis(BlockId b) const { return f_.insns[f_.blocks[b].insns[0]].op == Op::phi; }

  /// Whether all leaves that lead to `to` give its phis the same values.
  bool same_operands(BlockId to) const {
    const auto& predecessors = f_.blocks[to].predecessors;
    for (const Value v : f_.blocks[to].insns) {
      if (f_.insns[v].op != Op::phi) break;
      Value seen = no_value;
      for (const auto& leaf : leaves_) {
        if (leaf.to != to) continue;
        const auto at = static_cast<u32>(std::ranges::find(predecessors, leaf.from) - predecessors.begin());
        const Value operand = f_.operands_of(v)[at];
        if (seen != no_value && seen != operand) return false;
        seen = operand;
      }
    }
    return true;
  }

  /// A block that only jumps to the leaf's target: an edge of its own, so that phis can tell it apart.
  BlockId own_edge(const Leaf& leaf) {
    const auto made = static_cast<BlockId>(f_.blocks.size());
    f_.blocks.emplace_back();
    Block& block = f_.blocks[made];
    block.successors = {leaf.to};
    block.insns = {f_.add({.op = Op::jump, .block = made}, {})};
    std::ranges::replace(f_.blocks[leaf.to].predecessors, leaf.from, made);
    return made;
  }

  void drop_edge(const Leaf& leaf) {
    auto& predecessors = f_.blocks[leaf.to].predecessors;
    const auto at = static_cast<u32>(std::ranges::find(predecessors, leaf.from) - predecessors.begin());
    for (const Value v : f_.blocks[leaf.to].insns) {
      if (f_.insns[v].op != Op::phi) break;
      auto values = f_.operands_of(v);
      std::copy(values.begin() + at + 1, values.end(), values.begin() + at);
      f_.insns[v].count--;
    }
    predecessors.erase(predecessors.begin() + at);
  }

  void rewrite(BlockId root, BlockId usual, u64 low, u64 entries) {
    const Inst old = branch(root);
    const Value value = subject(root);
    std::vector<BlockId> table(1 + entries, no_block);
    std::vector<BlockId> inner;
    BlockId usual_edge = no_block;
    for (const auto& leaf : leaves_) {
      if (leaf.from != root && std::ranges::find(inner, leaf.from) == inner.end()) inner.push_back(leaf.from);
      if (leaf.to == usual && usual_edge != no_block) {
        drop_edge(leaf);
        continue;
      }
      const BlockId edge = own_edge(leaf);
      if (leaf.to == usual) {
        usual_edge = edge;
        continue;
      }
      for (const auto& i : leaf.numbers)
        for (u64 n = i.low; n <= i.high; n++) table[1 + (n - low)] = edge;
    }
    for (auto& to : table)
      if (to == no_block) to = usual_edge;
    forget_nodes(root, root);
    Block& block = f_.blocks[root];
    block.insns.pop_back();
    const Value operands[] = {value};
    block.insns.push_back(
        f_.add({.op = Op::switch_, .width = old.width, .block = root, .imm = static_cast<s64>(low)}, operands));
    f_.blocks[root].successors = table;
    for (const BlockId to : table) f_.blocks[to].predecessors.push_back(root);
  }

  void forget_nodes(BlockId b, BlockId root) {
    for (const BlockId to : std::vector<BlockId>(f_.blocks[b].successors))
      if (to != root && to < f_.blocks.size() && !f_.blocks[to].insns.empty() &&
          f_.blocks[to].predecessors == std::vector<BlockId>{b} && continues(to, root)) {
        forget_nodes(to, root);
        f_.blocks[to] = {};
      }
  }

  Function& f_;
  std::vector<Leaf> leaves_;
  u32 nodes_ = 0;
};

}  // namespace

void convert_branches(Function& f) { Converter(f).run(); }
void recover_switches(Function& f) { SwitchFinder(f).run(); }

}  // namespace skep::vm::ir
