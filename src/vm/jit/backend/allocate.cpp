// Gives units registers.
//
// Long units first: short ones find a place in the holes. A unit takes a register that saves a move if it can, else
// the first free one; else it evicts units of less weight; else it is cut (split.cpp) and its parts try again. Only
// ever less weight is evicted, and cutting ends at single uses that nothing evicts, so this ends.
// Which positions of a register are taken is one bit each, so that asking is a few machine words.
#include <algorithm>
#include <bit>

#include "vm/jit/backend/allocator.hpp"
#include "vm/jit/backend/passes.hpp"

namespace skep::vm::backend {
namespace {

constexpr u32 register_count = 32;
/// Saving and restoring a callee-saved register once per call: what it must earn before it is taken.
constexpr float saving_cost = 2;

}  // namespace

Allocator::Allocator(const Code& code, const Registers& registers, Allocation& out)
    : code_(code), registers_(registers), out_(out), words_(code.insns.size() * 2 / 64 + 1) {
  busy_.assign(words_ * register_count, 0);
  fixed_.assign(words_ * register_count, 0);
  assigned_.resize(register_count);
}

void Allocator::run() {
  block_clobbers();
  for (u32 u = 0; u < out_.units.size(); u++)
    if (!out_.units[u].dead) push(u);
  while (!queue_.empty()) {
    std::ranges::pop_heap(queue_);
    const u32 unit = static_cast<u32>(queue_.back() & 0xffffffffu);
    queue_.pop_back();
    place(unit);
  }
  collect_pieces();
}

void Allocator::block_clobbers() {
  for (u32 i = 0; i < code_.insns.size(); i++) {
    const u32 clobbers = code_.insns[i].clobbers;
    if (std::popcount(clobbers) > 4) calls_.push_back(i);
    for (u32 rest = clobbers; rest != 0; rest &= rest - 1) {
      const Range at{2 * i, 2 * i + 1};
      mark(static_cast<u8>(std::countr_zero(rest)), {&at, 1}, true);
    }
  }
  fixed_ = busy_;
}

void Allocator::push(u32 unit) {
  queue_.push_back(u64{out_.units[unit].length} << 32 | unit);
  std::ranges::push_heap(queue_);
}

void Allocator::place(u32 unit) {
  if (take_hint(unit) || take_free(unit) || take_by_force(unit)) return;
  split(unit);
}

bool Allocator::meets(const std::vector<u64>& bits, u8 reg, std::span<const Range> ranges) const {
  const u64* const row = bits.data() + reg * words_;
  for (const Range& r : ranges) {
    const u32 first = r.from / 64, last = (r.to - 1) / 64;
    const u64 head = ~u64{0} << r.from % 64, tail = ~u64{0} >> (63 - (r.to - 1) % 64);
    if (first == last) {
      if ((row[first] & head & tail) != 0) return true;
      continue;
    }
    if ((row[first] & head) != 0 || (row[last] & tail) != 0) return true;
    for (u32 w = first + 1; w < last; w++)
      if (row[w] != 0) return true;
  }
  return false;
}

void Allocator::mark(u8 reg, std::span<const Range> ranges, bool busy) {
  u64* const row = busy_.data() + reg * words_;
  for (const Range& r : ranges)
    for (u32 w = r.from / 64; w <= (r.to - 1) / 64; w++) {
      u64 bits = ~u64{0};
      if (w == r.from / 64) bits &= ~u64{0} << r.from % 64;
      if (w == (r.to - 1) / 64) bits &= ~u64{0} >> (63 - (r.to - 1) % 64);
      row[w] = busy ? row[w] | bits : row[w] & ~bits;
    }
}

/// The registers that would save a move: fixed ones of its instructions, and those of its partners.
bool Allocator::take_hint(u32 unit) {
  const Unit& u = out_.units[unit];
  const auto ranges = out_.ranges_of(u);
  const auto attempt = [&](u8 reg) {
    if (reg == absent || !is_free(reg, ranges)) return false;
    if ((registers_.saved & ~out_.used) >> reg & 1) return false;  // not worth a new callee-saved one
    if (std::ranges::find(registers_.order, reg) == registers_.order.end()) return false;
    assign(unit, reg);
    return true;
  };
  u32 tried = 0;
  for (u32 m = u.members; m != none && tried < 8; m = out_.members[m].next, tried++) {
    const Value& value = out_.values[out_.members[m].vreg];
    if (attempt(value.hint)) return true;
    for (const VReg partner : value.partners) {
      if (partner == none) continue;
      const Value& other = out_.values[partner];
      if (other.unit != none && attempt(out_.units[other.unit].reg)) return true;
      if (other.unit == none && attempt(other.hint)) return true;
    }
  }
  return false;
}

bool Allocator::take_free(u32 unit) {
  const Unit& u = out_.units[unit];
  const auto ranges = out_.ranges_of(u);
  for (const u8 reg : registers_.order) {
    const bool opens = ((registers_.saved & ~out_.used) >> reg & 1) != 0;
    if (opens && !u.minimal && u.cost <= saving_cost) continue;
    if (!is_free(reg, ranges)) continue;
    assign(unit, reg);
    return true;
  }
  return false;
}

/// Evicts what weighs less, from the register where that is least.
bool Allocator::take_by_force(u32 unit) {
  const auto ranges = out_.ranges_of(out_.units[unit]);
  const float own = out_.units[unit].weight;
  u8 best = absent;
  float least = own;
  for (const u8 reg : registers_.order) {
    if (((registers_.saved & ~out_.used) >> reg & 1) != 0 || meets(fixed_, reg, ranges)) continue;
    float heaviest = 0;
    for (const u32 other : assigned_[reg]) {
      if (out_.units[other].weight <= heaviest || !overlap(ranges, out_.ranges_of(out_.units[other]))) continue;
      heaviest = out_.units[other].weight;
      if (heaviest >= least) break;
    }
    if (heaviest >= least) continue;
    least = heaviest;
    best = reg;
  }
  if (best == absent) return false;
  std::vector<u32> evicted;
  for (const u32 other : assigned_[best])
    if (overlap(ranges, out_.ranges_of(out_.units[other]))) evicted.push_back(other);
  for (const u32 other : evicted) {
    release(other);
    push(other);
  }
  assign(unit, best);
  return true;
}

void Allocator::assign(u32 unit, u8 reg) {
  out_.units[unit].reg = reg;
  out_.used |= 1u << reg;
  assigned_[reg].push_back(unit);
  mark(reg, out_.ranges_of(out_.units[unit]), true);
}

void Allocator::release(u32 unit) {
  const u8 reg = out_.units[unit].reg;
  std::erase(assigned_[reg], unit);
  mark(reg, out_.ranges_of(out_.units[unit]), false);
  out_.units[unit].reg = absent;
}

/// Pieces by value, and the registers that are in use at last.
void Allocator::collect_pieces() {
  out_.used = 0;
  for (u32 u = 0; u < out_.units.size(); u++) {
    const Unit& unit = out_.units[u];
    if (unit.dead || unit.reg == absent) continue;
    out_.used |= 1u << unit.reg;
    if (!unit.piece) continue;
    Value& value = out_.values[out_.members[unit.members].vreg];
    out_.pieces.push_back({u, value.pieces});
    value.pieces = static_cast<u32>(out_.pieces.size() - 1);
  }
}

Loc Allocation::at(const Code& code, VReg v, u32 position) const {
  const Value& value = values[v];
  if (value.unit != none) return Loc::of(Loc::reg, units[value.unit].reg);
  for (u32 p = value.pieces; p != none; p = pieces[p].next)
    for (const Range& r : ranges_of(units[pieces[p].unit]))
      if (r.from <= position && position < r.to) return Loc::of(Loc::reg, units[pieces[p].unit].reg);
  if (code.registers[v].remat != Remat::no) return Loc::of(Loc::remat, v);
  return Loc::of(Loc::slot, value.web);  // resolve() makes slots of webs
}

void allocate(Code& code, const Registers& registers, Allocation& allocation) {
  make_units(code, registers, allocation);
  Allocator(code, registers, allocation).run();
}

}  // namespace skep::vm::backend
