// Strongly connected parts by Tarjan's algorithm, again and again without their heads. See loops.hpp.
#include "verify/loops.hpp"

#include <algorithm>

namespace skep::verify {

using isa::Form;

Successors successors(const ProgramSpec& program, const Analysis& analysis, u32 insn) {
  Successors found;
  const Form form = isa::row(analysis.insns[insn].op).form;
  if (form == Form::exit) return found;
  const Insn& i = program.insns[insn];
  if (form != Form::jump && form != Form::jump_long) found.insns[found.count++] = insn + isa::slots(i);
  if (isa::is_jump(form)) found.insns[found.count++] = insn + 1 + static_cast<u32>(isa::jump_distance(form, i));
  return found;
}

namespace {

class Finder {
 public:
  Finder(const ProgramSpec& program, const Analysis& analysis, std::span<const InsnProof> proofs)
      : program_(program), analysis_(analysis), proofs_(proofs), nodes_(program.insns.size()) {
    out_.position.resize(program.insns.size());
  }

  Loops run() {
    std::vector<u32> all;
    for (u32 i = 0; i < nodes_.size(); i++)
      if (!analysis_.insns[i].is_tail && (proofs_.empty() || proofs_[i].reached)) all.push_back(i);
    next_.resize(nodes_.size());
    for (u32 i : all) next_[i] = ways_from(i);
    order(all, all, -1, 0);
    return std::move(out_);
  }

 private:
  static constexpr u32 most_levels = 64;
  struct Node {
    u32 level = 0;  ///< of order(): which instructions it looks at
    u32 index = 0, low = 0;
    u32 part = 0;
    bool on_stack = false, is_entry = false;
  };

  /// Strongly connected parts, one behind the other; the instructions of each in ascending order.
  struct Parts {
    std::vector<u32> insns, ends;
    std::span<u32> at(std::size_t part) {
      const u32 begin = part == 0 ? 0 : ends[part - 1];
      return std::span(insns).subspan(begin, ends[part] - begin);
    }
  };

  Successors ways_from(u32 insn) const {
    Successors all = successors(program_, analysis_, insn), ways;
    const bool has_proof = !proofs_.empty() && isa::is_conditional(isa::row(analysis_.insns[insn].op).form);
    for (u32 k = 0; k < all.count; k++)
      if (!has_proof || (k == 0 ? proofs_[insn].jump_passed : proofs_[insn].jump_taken))
        ways.insns[ways.count++] = all.insns[k];
    return ways;
  }

  /// Puts `wanted`, which ascends, in order. `around` is where they are entered from.
  void order(const std::vector<u32>& wanted, const std::vector<u32>& around, s32 outer, u32 depth) {
    const u32 level = ++levels_;
    for (u32 i : wanted) nodes_[i] = {.level = level};
    Parts parts;
    u32 count = 0;
    for (u32 i : wanted)
      if (nodes_[i].index == 0) connect(i, level, count, parts);
    fill(parts, wanted);
    for (u32 from : around)
      for (u32 to : next_[from])
        if (nodes_[to].level == level && (nodes_[from].level != level || nodes_[from].part != nodes_[to].part))
          nodes_[to].is_entry = true;
    for (const Function& f : analysis_.functions)
      if (nodes_[f.first].level == level) nodes_[f.first].is_entry = true;
    for (std::size_t p = parts.ends.size(); p-- > 0;) place(parts.at(p), outer, depth);
  }

  void place(std::span<u32> part, s32 outer, u32 depth) {
    const Successors& ways = next_[part[0]];
    if (part.size() == 1 && std::ranges::find(ways, part[0]) == ways.end()) {
      out_.position[part[0]] = placed_++;
      return;
    }
    auto head = std::ranges::find_if(part, [this](u32 i) { return nodes_[i].is_entry; });
    if (head == part.end()) head = part.begin();
    const s32 self = static_cast<s32>(out_.loops.size());
    out_.loops.push_back({*head, {part.begin(), part.end()}, outer});
    const std::vector<u32> body(part.begin(), part.end());
    out_.position[*head] = placed_++;
    std::vector<u32> rest;
    for (u32 i : part)
      if (i != *head) rest.push_back(i);
    if (depth < most_levels) return order(rest, body, self, depth + 1);
    out_.too_deep = true;
    for (u32 i : rest) out_.position[i] = placed_++;
  }

  /// Tarjan's algorithm from `root`, without recursion: parts come out last first.
  void connect(u32 root, u32 level, u32& count, Parts& parts) {
    struct Visit {
      u32 insn, taken;
    };
    std::vector<Visit> visits;
    auto enter = [&](u32 i) {
      nodes_[i].index = nodes_[i].low = ++count;
      nodes_[i].on_stack = true;
      stack_.push_back(i);
      visits.push_back({i, 0});
    };
    enter(root);
    while (!visits.empty()) {
      Visit& visit = visits.back();
      Node& node = nodes_[visit.insn];
      if (const Successors& ways = next_[visit.insn]; visit.taken < ways.count) {
        const u32 to = ways.insns[visit.taken++];
        if (nodes_[to].level != level) continue;
        if (nodes_[to].index == 0)
          enter(to);
        else if (nodes_[to].on_stack)
          node.low = std::min(node.low, nodes_[to].index);
        continue;
      }
      if (node.low == node.index) take_part(visit.insn, parts);
      const u32 low = node.low;
      visits.pop_back();
      if (!visits.empty()) nodes_[visits.back().insn].low = std::min(nodes_[visits.back().insn].low, low);
    }
  }

  /// Only how many there are: fill() puts them in.
  void take_part(u32 first, Parts& parts) {
    u32 i = 0, count = 0;
    do {
      i = stack_.back();
      stack_.pop_back();
      nodes_[i].on_stack = false;
      nodes_[i].part = static_cast<u32>(parts.ends.size());
      count++;
    } while (i != first);
    parts.ends.push_back((parts.ends.empty() ? 0 : parts.ends.back()) + count);
  }

  void fill(Parts& parts, const std::vector<u32>& wanted) const {
    std::vector<u32> filled(parts.ends.size());  // behind the last one of each
    for (std::size_t p = 1; p < filled.size(); p++) filled[p] = parts.ends[p - 1];
    parts.insns.resize(wanted.size());
    for (u32 i : wanted) parts.insns[filled[nodes_[i].part]++] = i;
  }

  const ProgramSpec& program_;
  const Analysis& analysis_;
  std::span<const InsnProof> proofs_;
  std::vector<Node> nodes_;
  std::vector<Successors> next_;  ///< by instruction: ways_from()
  std::vector<u32> stack_;
  u32 levels_ = 0, placed_ = 0;
  Loops out_;
};

}  // namespace

Loops find_loops(const ProgramSpec& program, const Analysis& analysis, std::span<const InsnProof> proofs) {
  return Finder(program, analysis, proofs).run();
}

}  // namespace skep::verify
