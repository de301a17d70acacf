// Cuts units that found no register into parts that may.
//
// In this order: joined values part; a value that lives across calls is cut around them; a value used in several
// loops gets a piece for each of the outermost ones; a value used in several blocks gets a piece for each. At last
// every single use that cannot read memory gets a piece of its own, and between the pieces the value is in its slot
// (or nowhere, when it can be made again). A value is stored once, where it is defined: SSA needs no second store.
#include <algorithm>

#include "vm/jit/backend/allocator.hpp"

namespace skep::vm::backend {
namespace {

enum Stage : u8 { whole, no_calls, loops, blocks };

}  // namespace

void Allocator::split(u32 unit) {
  const Unit u = out_.units[unit];
  if (out_.members[u.members].next != none) return split_by_value(unit);
  if (u.minimal) {
    out_.failed = true;
    return;
  }
  const VReg v = out_.members[u.members].vreg;
  out_.units[unit].dead = true;
  out_.values[v].unit = none;
  collect_touches(u, v);
  if (u.stage < no_calls && split_around_calls(unit, v)) return;
  if (u.stage <= loops && split_by_loop(unit, v)) return;
  if (u.stage <= loops && split_by_block(unit, v)) return;
  split_by_touch(unit, v);
}

void Allocator::split_by_value(u32 unit) {
  out_.units[unit].dead = true;
  for (u32 m = out_.units[unit].members; m != none;) {
    const u32 next = out_.members[m].next;
    const VReg v = out_.members[m].vreg;
    out_.members[m].next = none;
    Unit part;
    part.members = m;
    part.first = code_.registers[v].ranges_first;  // Allocation::ranges begins with those of Code
    part.count = code_.registers[v].ranges_count;
    for (const Range& r : out_.ranges_of(part)) part.length += r.to - r.from;
    part.cost = out_.values[v].cost;
    part.weight = weight_of(part);
    const u32 id = static_cast<u32>(out_.units.size());
    out_.values[v].unit = id;
    if (next != none) {  // neighbours in the unit are likely to have wanted one register
      const VReg other = out_.members[next].vreg;
      for (const auto& [a, b] : {std::pair{v, other}, std::pair{other, v}}) {
        Value& value = out_.values[a];
        value.partners[value.partners[0] == none ? 0 : 1] = b;
      }
    }
    out_.units.push_back(part);
    push(id);
    m = next;
  }
}

u32 Allocator::block_at(u32 inst) const {
  const auto it = std::upper_bound(code_.blocks.begin(), code_.blocks.end(), inst,
                                   [](u32 i, const Block& b) { return i < b.first; });
  return static_cast<u32>(it - code_.blocks.begin()) - 1;
}

/// Every read and write of `v` within the unit's ranges, ascending.
void Allocator::collect_touches(const Unit& unit, VReg v) {
  touches_.clear();
  const Register& r = code_.registers[v];
  const bool remat = r.remat != Remat::no;
  const auto inside = [&](u32 position) {
    for (const Range& range : out_.ranges_of(unit))
      if (range.from <= position && position < range.to) return true;
    return false;
  };
  for (u32 o = r.uses; o != none; o = code_.operands[o].next) {
    const Operand& operand = code_.operands[o];
    if (operand.use == Use::fixed) continue;
    const u32 from = 2 * operand.inst - 1;
    if (!inside(from)) continue;
    const bool late = operand.use == Use::late || operand.use == Use::any_late;
    const bool any = !remat && (operand.use == Use::any || operand.use == Use::any_late);
    const u32 block = block_at(operand.inst);
    const float cost = code_.blocks[block].frequency * (any ? 0.6f : remat ? 0.5f : 1.0f);
    touches_.push_back({from, from + (late ? 2u : 1u), block, cost, !any});
  }
  if (r.def_inst != none && !remat && code_.insns[r.def_inst].def_kind != Def::fixed) {
    const bool early = code_.insns[r.def_inst].def_kind == Def::early;
    // An early result is stored behind its instruction and before what the next one reloads: one position will do, and
    // more would meet the piece of a read in the next instruction.
    const u32 from = 2 * r.def_inst + (early ? 0 : 1), block = block_at(r.def_inst);
    if (inside(from)) touches_.push_back({from, from + 1, block, code_.blocks[block].frequency, true});
  }
  std::ranges::sort(touches_, {}, [](const Touch& t) { return t.from; });
}

void Allocator::add_piece(const Unit& whole, VReg v, u32 from, u32 to, std::size_t first, std::size_t last, u8 stage) {
  if (last - first == 1 && !touches_[first].needs_register) return;  // memory will do
  Unit part;
  part.piece = true;
  part.stage = stage;
  part.first = static_cast<u32>(out_.ranges.size());
  for (u32 i = 0; i < whole.count; i++) {
    const Range r = out_.ranges[whole.first + i];
    const Range cut{std::max(r.from, from), std::min(r.to, to)};
    if (cut.from >= cut.to) continue;
    out_.ranges.push_back(cut);
    part.length += cut.to - cut.from;
  }
  part.count = static_cast<u32>(out_.ranges.size()) - part.first;
  for (std::size_t i = first; i < last; i++) part.cost += touches_[i].cost;
  part.minimal = part.length <= 2 && last - first == 1;
  part.weight = weight_of(part);
  part.members = static_cast<u32>(out_.members.size());
  out_.members.push_back({v});
  out_.units.push_back(part);
  push(static_cast<u32>(out_.units.size() - 1));
}

/// Where touches [first, last) end.
u32 Allocator::last_position(std::size_t first, std::size_t last) const {
  u32 to = 0;
  for (std::size_t i = first; i < last; i++) to = std::max(to, touches_[i].to);
  return to;
}

/// Pieces from the first to the last touch between two calls.
bool Allocator::split_around_calls(u32 unit, VReg v) {
  const Unit u = out_.units[unit];
  const auto meets_call = [&](u32 from, u32 to) {
    const auto it = std::ranges::lower_bound(calls_, (from + 1) / 2);
    return it != calls_.end() && 2 * *it < to;
  };
  bool crosses = false;
  for (const Range& r : out_.ranges_of(u)) crosses = crosses || meets_call(r.from, r.to);
  if (!crosses) return false;
  for (std::size_t i = 0; i < touches_.size();) {
    std::size_t k = i + 1;
    while (k < touches_.size() && !meets_call(touches_[i].from, touches_[k].to)) k++;
    add_piece(u, v, touches_[i].from, last_position(i, k), i, k, no_calls);
    i = k;
  }
  return true;
}

/// The loop directly inside `around` that has the block; none: the block is in `around` itself.
u32 Allocator::child_loop(u32 block, u32 around) const {
  u32 l = code_.blocks[block].loop;
  if (l == around) return none;
  while (l != none && code_.loops[l].parent != around) l = code_.loops[l].parent;
  return l;
}

/// A piece for each outermost loop that touches it, over the whole loop; between them pieces by block.
bool Allocator::split_by_loop(u32 unit, VReg v) {
  const Unit u = out_.units[unit];
  if (touches_.empty()) return false;
  // The innermost loop around every range of the unit.
  const u32 begin = out_.ranges_of(u).front().from, end = out_.ranges_of(u).back().to;
  const auto encloses = [&](u32 loop) {
    const Loop& l = code_.loops[loop];
    return 2 * code_.blocks[l.first].first <= begin && end <= 2 * code_.blocks[l.last - 1].last;
  };
  u32 around = code_.blocks[touches_.front().block].loop;
  while (around != none && !encloses(around)) around = code_.loops[around].parent;
  const auto group = [&](const Touch& t) { return std::pair{child_loop(t.block, around), t.block}; };
  const auto same = [&](const Touch& a, const Touch& b) {
    const auto [loop_a, block_a] = group(a);
    const auto [loop_b, block_b] = group(b);
    return loop_a == loop_b && (loop_a != none || block_a == block_b);
  };
  bool any_loop = false;
  for (const Touch& t : touches_) any_loop = any_loop || child_loop(t.block, around) != none;
  if (!any_loop) return false;
  for (std::size_t i = 0; i < touches_.size();) {
    std::size_t k = i + 1;
    while (k < touches_.size() && same(touches_[i], touches_[k])) k++;
    const u32 loop = child_loop(touches_[i].block, around);
    u32 from = touches_[i].from, to = last_position(i, k);
    if (loop != none) {
      from = std::min(from, 2 * code_.blocks[code_.loops[loop].first].first);
      to = std::max(to, 2 * code_.blocks[code_.loops[loop].last - 1].last);
    }
    add_piece(u, v, from, to, i, k, std::max<u8>(u.stage, no_calls));
    i = k;
  }
  return true;
}

bool Allocator::split_by_block(u32 unit, VReg v) {
  const Unit u = out_.units[unit];
  if (touches_.empty()) return false;
  const bool trimmed = out_.ranges_of(u).front().from < touches_.front().from ||
                       out_.ranges_of(u).back().to > last_position(0, touches_.size());
  if (touches_.front().block == touches_.back().block && !trimmed) return false;
  for (std::size_t i = 0; i < touches_.size();) {
    std::size_t k = i + 1;
    while (k < touches_.size() && touches_[k].block == touches_[i].block) k++;
    add_piece(u, v, touches_[i].from, last_position(i, k), i, k, blocks);
    i = k;
  }
  return true;
}

void Allocator::split_by_touch(u32 unit, VReg v) {
  const Unit u = out_.units[unit];
  for (std::size_t i = 0; i < touches_.size();) {
    // One instruction may read it twice, or read what the one before wrote. All of them find the piece, so it lasts
    // until the last of them is done, also for those that memory would do for.
    std::size_t k = i, needing = touches_.size();
    for (; k < touches_.size() && touches_[k].from == touches_[i].from; k++)
      if (touches_[k].needs_register) needing = k;
    if (needing != touches_.size())
      add_piece(u, v, touches_[i].from, last_position(i, k), needing, needing + 1, blocks);
    i = k;
  }
}

}  // namespace skep::vm::backend
