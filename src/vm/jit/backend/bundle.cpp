// Joins values that want the same register into units.
//
// A phi and its operands, a two-address result and its first operand: when their ranges do not meet, one register
// serves all of them and no move is needed. Hot phis are joined first, because a move saved in a loop is worth most.
// What cannot be joined remembers the other as a partner: taking its register later still saves the move.
#include <algorithm>
#include <bit>

#include "base/sort_by.hpp"
#include "vm/jit/backend/allocation.hpp"

namespace skep::vm::backend {

bool overlap(std::span<const Range> a, std::span<const Range> b) {
  if (a.empty() || b.empty() || a.back().to <= b.front().from || b.back().to <= a.front().from) return false;
  std::size_t i = 0, k = 0;
  while (i < a.size() && k < b.size()) {
    if (a[i].to <= b[k].from)
      i++;
    else if (b[k].to <= a[i].from)
      k++;
    else
      return true;
  }
  return false;
}

namespace {

/// Units of large programs: joining one with another costs time for every range, and for every member of the second.
constexpr u32 most_ranges = 512, large_unit = 64;

class Bundler {
 public:
  Bundler(const Code& code, const Registers& registers, Allocation& out)
      : code_(code), registers_(registers), out_(out) {}

  void run() {
    out_.values.resize(code_.registers.size());
    out_.ranges.reserve(code_.ranges.size() * 3);
    out_.ranges.assign(code_.ranges.begin(), code_.ranges.end());
    out_.units.reserve(code_.registers.size() * 2);
    out_.members.reserve(code_.registers.size() * 2);
    weigh();
    for (VReg v = 0; v < code_.registers.size(); v++) single(v);
    join_phis();
    join_ties();
    finish();
  }

 private:
  void weigh() {
    for (const Block& block : code_.blocks)
      for (u32 i = block.first; i < block.last; i++) instruction(code_.insns[i], block.frequency);
    for (const Phi& phi : code_.phis) {
      const Block& block = code_.blocks[phi.block];
      out_.values[phi.def].cost += block.frequency * 0.5f;
      for (u32 k = 0; k < block.predecessor_count; k++) {
        const u32 p = code_.edges[block.predecessors + k];
        const VReg v = code_.phi_operands[phi.first + k];
        if (p != none && code_.registers[v].remat == Remat::no) out_.values[v].cost += code_.blocks[p].frequency * 0.5f;
      }
    }
    for (u32 i = 0; i < code_.parameters.size(); i++)
      if (code_.parameters[i] != none) hint(code_.parameters[i], registers_.arguments[i], 1);
  }

  void instruction(const Inst& inst, float frequency) {
    for (u32 k = 0; k < inst.count; k++) {
      const Operand& o = code_.operands[inst.first + k];
      const bool remat = code_.registers[o.vreg].remat != Remat::no;
      float share = 1;
      if (o.use == Use::fixed) {
        if (remat) continue;
        hint(o.vreg, o.fixed, frequency);
        share = 0.25f;
      } else if (remat) {
        share = 0.5f;
      } else if (o.use == Use::any || o.use == Use::any_late) {
        share = 0.6f;
      }
      out_.values[o.vreg].cost += frequency * share;
    }
    if (inst.def == none || code_.registers[inst.def].remat != Remat::no) return;
    out_.values[inst.def].cost += frequency;
    if (inst.def_kind == Def::fixed) hint(inst.def, inst.def_fixed, frequency);
  }

  void hint(VReg v, u8 reg, float frequency) {
    Value& value = out_.values[v];
    if (frequency <= value.hint_frequency) return;
    value.hint = reg;
    value.hint_frequency = frequency;
  }

  void single(VReg v) {
    const Register& r = code_.registers[v];
    if (r.ranges_count == 0) return;
    Unit u;
    u.members = static_cast<u32>(out_.members.size());
    out_.members.push_back({v});
    u.first = r.ranges_first;
    u.count = r.ranges_count;
    out_.values[v].unit = static_cast<u32>(out_.units.size());
    out_.units.push_back(u);
  }

  void join_phis() {
    std::vector<u32> order(code_.phis.size());
    for (u32 i = 0; i < order.size(); i++) order[i] = i;
    // The most frequent first. Numbers that are not negative are ordered as their bits are.
    base::sort_by(order, [&](u32 i) { return ~std::bit_cast<u32>(code_.blocks[code_.phis[i].block].frequency); });
    for (const u32 i : order) {
      const Phi& phi = code_.phis[i];
      const Block& block = code_.blocks[phi.block];
      for (int hot = 1; hot >= 0; hot--)  // the operand that comes around the loop first
        for (u32 k = 0; k < block.predecessor_count; k++) {
          const u32 p = code_.edges[block.predecessors + k];
          if (p == none || (p >= phi.block) != (hot == 1)) continue;
          join(phi.def, code_.phi_operands[phi.first + k], false);
        }
    }
  }

  void join_ties() {
    for (const Inst& inst : code_.insns) {
      if (inst.tied == absent || inst.def == none) continue;
      if (join(inst.def, code_.operand(inst, inst.tied).vreg, true) || inst.tied_too == absent) continue;
      join(inst.def, code_.operand(inst, inst.tied_too).vreg, true);
    }
  }

  /// `fill`: the one position between a last read and the write that replaces it belongs to the unit as well.
  bool join(VReg a, VReg b, bool fill) {
    const u32 ua = out_.values[a].unit, ub = out_.values[b].unit;
    if (ua == none || ub == none) return false;
    if (ua == ub) return true;
    const bool is_long = out_.units[ua].count + out_.units[ub].count > most_ranges;
    const bool apart = is_long || code_.registers[a].remat != Remat::no || code_.registers[b].remat != Remat::no ||
                       overlap(out_.ranges_of(out_.units[ua]), out_.ranges_of(out_.units[ub]));
    if (apart) {
      partner(a, b);
      partner(b, a);
      return false;
    }
    if (out_.units[ub].size > std::max(out_.units[ua].size, large_unit))
      merge(ub, ua, fill);
    else
      merge(ua, ub, fill);
    return true;
  }

  void partner(VReg of, VReg with) {
    Value& value = out_.values[of];
    value.partners[value.partners[0] == none ? 0 : 1] = with;
  }

  void merge(u32 into, u32 from, bool fill) {
    Unit &a = out_.units[into], &b = out_.units[from];
    const u32 first = static_cast<u32>(out_.ranges.size());
    u32 i = 0, k = 0;
    while (i < a.count || k < b.count) {
      const bool take_a =
          k == b.count || (i < a.count && out_.ranges[a.first + i].from < out_.ranges[b.first + k].from);
      const Range next = take_a ? out_.ranges[a.first + i++] : out_.ranges[b.first + k++];
      if (out_.ranges.size() > first && out_.ranges.back().to + (fill ? 1 : 0) >= next.from)
        out_.ranges.back().to = next.to;
      else
        out_.ranges.push_back(next);
    }
    a.first = first;
    a.count = static_cast<u32>(out_.ranges.size()) - first;
    b.dead = true;
    a.size += b.size;
    u32 last = none;
    for (u32 m = b.members; m != none; m = out_.members[m].next) {
      out_.values[out_.members[m].vreg].unit = into;
      last = m;
    }
    out_.members[last].next = a.members;
    a.members = b.members;
  }

  void finish() {
    for (u32 u = 0; u < out_.units.size(); u++) {
      Unit& unit = out_.units[u];
      if (unit.dead) continue;
      for (u32 m = unit.members; m != none; m = out_.members[m].next) {
        Value& value = out_.values[out_.members[m].vreg];
        value.web = u;
        unit.cost += value.cost;
      }
      for (const Range& r : out_.ranges_of(unit)) unit.length += r.to - r.from;
      unit.weight = weight_of(unit);
    }
    out_.web_slots.assign(out_.units.size(), none);
  }

  const Code& code_;
  const Registers& registers_;
  Allocation& out_;
};

}  // namespace

void make_units(const Code& code, const Registers& registers, Allocation& allocation) {
  Bundler(code, registers, allocation).run();
}

}  // namespace skep::vm::backend
