// See shapes.hpp. Addresses: an addition (or a shift by 1 to 3) whose every user is an address or another such
// addition can vanish; whether it does depends on whether all of them have room for it, so the question is asked
// again until nobody changes his mind. Upper halves: phis are believed to be empty until one operand is not.
#include "vm/jit/backend/shapes.hpp"

#include <array>

namespace skep::vm::backend {

using ir::Op;
using ir::Value;

void Facts::find(bool scales) {
  const std::size_t n = f_.insns.size();
  root_.resize(n);
  for (Value v = 0; v < n; v++) root_[v] = v;
  uses_.assign(n, 0);
  epoch_.assign(n, 0);
  folded_.assign(n, 0);
  upper_zero_.assign(n, 0);
  address_uses_.assign(n, 0);
  absorbed_.assign(n, 0);
  absorbable_.assign(n, 0);
  shape_at_.assign(n, none);
  count();
  find_upper_zero();
  find_roots();
  if (scales) find_shapes();
}

namespace {

bool has_address(Op op) { return op >= Op::load && op <= Op::store_release; }

}  // namespace

void Facts::count() {
  u32 writes = 0;
  for (const Block& block : code_.blocks) {
    if (block.source == ir::no_block) continue;
    for (const Value v : f_.blocks[block.source].insns) {
      const ir::Inst& inst = f_.insns[v];
      if (ir::row(inst.op).effect == ir::Effect::writes) writes++;
      epoch_[v] = writes;
      for (const Value o : f_.operands_of(inst)) uses_[o]++;
    }
    writes++;  // nothing moves across the end of a block
  }
}

bool Facts::upper_zero_now(Value v) const {
  const ir::Inst& inst = f_.insns[v];
  const auto operands = f_.operands_of(inst);
  const auto both = [&] { return upper_zero_[operands[0]] && upper_zero_[operands[1]]; };
  switch (inst.op) {
    case Op::constant:
      return static_cast<u64>(inst.imm) <= 0xffffffffu;
    case Op::phi:
      for (const Value o : operands)
        if (!upper_zero_[o]) return false;
      return true;
    case Op::select:
      return upper_zero_[operands[2]] && upper_zero_[operands[3]];
    case Op::popcount:
    case Op::leading_zeros:
      return true;
    case Op::zext:
      return inst.bits <= 32 || upper_zero_[operands[0]];
    case Op::bswap:
      return inst.bits <= 32;
    case Op::load:
      return inst.bits <= 32 && !inst.has(ir::Inst::sign);
    case Op::load_swapped:
    case Op::load_acquire:
    case Op::exchange:
    case Op::compare_exchange:
      return inst.bits <= 32;
    case Op::atomic:
      return inst.bits <= 32;
    case Op::and_:
      return inst.width == 32 || upper_zero_[operands[0]] || upper_zero_[operands[1]];
    case Op::or_:
    case Op::xor_:
      return inst.width == 32 || both();
    case Op::shr:
      if (inst.width == 64 && f_.is_constant(operands[1]) && (f_.insns[operands[1]].imm & 63) >= 32) return true;
      return inst.width == 32 || upper_zero_[operands[0]];
    case Op::udiv:
    case Op::umod:
      return inst.width == 32 || both();
    default:
      return inst.width == 32 && ir::row(inst.op).effect == ir::Effect::pure && inst.op >= Op::add;
  }
}

void Facts::find_upper_zero() {
  for (const Block& block : code_.blocks) {
    if (block.source == ir::no_block) continue;
    for (const Value v : f_.blocks[block.source].insns) upper_zero_[v] = f_.insns[v].op == Op::phi || upper_zero_now(v);
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (const Block& block : code_.blocks) {
      if (block.source == ir::no_block) continue;
      for (const Value v : f_.blocks[block.source].insns)
        if (upper_zero_[v] && !upper_zero_now(v)) upper_zero_[v] = 0, changed = true;
    }
  }
}

void Facts::find_roots() {
  for (const Block& block : code_.blocks) {
    if (block.source == ir::no_block) continue;
    for (const Value v : f_.blocks[block.source].insns) {
      const ir::Inst& inst = f_.insns[v];
      if (inst.op != Op::zext) continue;
      const Value source = root_[f_.operands_of(inst)[0]];
      const ir::Inst& made = f_.insns[source];
      const bool narrow_load = (made.op == Op::load || made.op == Op::load_swapped || made.op == Op::load_acquire) &&
                               !made.has(ir::Inst::sign) && made.bits <= inst.bits;
      if (inst.bits < 64 && !narrow_load && !(inst.bits == 32 && upper_zero_[source])) continue;
      root_[v] = source;
      uses_[source] += uses_[v] - 1;
      folded_[v] = 1;
    }
  }
}

bool Facts::may_absorb(Value v) const {
  const ir::Inst& inst = f_.insns[v];
  if (inst.op == Op::add) return uses_[v] == address_uses_[v] || uses_[v] == 1;
  if (inst.op != Op::shl) return false;
  const Value count = root(f_.operands_of(inst)[1]);
  return f_.is_constant(count) && f_.insns[count].imm >= 1 && f_.insns[count].imm <= 3;
}

/// Two registers computed outside a loop stay one register inside it.
bool Facts::can_absorb(Value term, const ir::Inst& user) const {
  if (!absorbable_[term] || shape_at_[term] == none) return false;
  const ir::Inst& inst = f_.insns[term];
  if (inst.width != 64 && user.width != 32) return false;
  const Shape& s = shapes_[shape_at_[term]];
  if (s.index == ir::no_value || (s.base == ir::no_value && !s.frame)) return true;
  return code_.blocks[code_.place[inst.block]].loop == code_.blocks[code_.place[user.block]].loop;
}

bool Facts::add_term(Shape& into, Value term, u8 width, bool absorb) const {
  const ir::Inst& inst = f_.insns[term];
  Shape t;
  if (inst.op == Op::constant) {
    t.disp = width == 32 ? static_cast<s32>(inst.imm) : inst.imm;
  } else if (inst.op == Op::frame && width == 64) {
    t.frame = true;
    t.disp = inst.imm;
  } else if (absorb) {
    t = shapes_[shape_at_[term]];
  } else {
    t.base = term;
  }
  if (t.base != ir::no_value && into.base != ir::no_value && t.index == ir::no_value) {  // base can serve as an index
    t.index = t.base;
    t.base = ir::no_value;
    t.scale = 0;
  }
  const bool no_room = (t.base != ir::no_value && (into.base != ir::no_value || into.frame)) ||
                       (t.frame && (into.frame || into.base != ir::no_value)) ||
                       (t.index != ir::no_value && into.index != ir::no_value);
  Shape sum = into;
  if (no_room) {
    if (t.frame && !into.frame && into.index == ir::no_value && t.index == ir::no_value) {  // the base moves over
      sum.index = into.base;
      sum.base = ir::no_value;
      sum.scale = 0;
    } else if (into.frame && t.base != ir::no_value && t.index == ir::no_value && into.index == ir::no_value) {
      sum.index = t.base;
      t.base = ir::no_value;
    } else {
      return false;
    }
  }
  if (__builtin_add_overflow(sum.disp, t.disp, &sum.disp) || sum.disp != static_cast<s32>(sum.disp)) return false;
  sum.frame = sum.frame || t.frame;
  if (t.base != ir::no_value) sum.base = t.base;
  if (t.index != ir::no_value) {
    sum.index = t.index;
    sum.scale = t.scale;
  }
  into = sum;
  return true;
}

/// Absorbing both operands, else one, else none.
Shape Facts::shape_of(Value v) {
  const ir::Inst& inst = f_.insns[v];
  const auto operands = f_.operands_of(inst);
  const Value a = root(operands[0]), b = root(operands[1]);
  if (inst.op == Op::shl) {
    Shape s;
    s.index = a;
    s.scale = static_cast<u8>(f_.insns[b].imm);
    return s;
  }
  for (const auto& [take_a, take_b] : {std::pair{true, true}, {false, true}, {true, false}, {false, false}}) {
    Shape s;
    if ((take_a && !can_absorb(a, inst)) || (take_b && !can_absorb(b, inst))) continue;
    if (!add_term(s, a, inst.width, take_a) || !add_term(s, b, inst.width, take_b)) continue;
    absorbed_[a] += take_a;
    absorbed_[b] += take_b;
    return s;
  }
  // A constant too wide to be a displacement is a base; a scaled index still fits beside it.
  if (can_absorb(a, inst)) {
    Shape t = shapes_[shape_at_[a]];
    if (t.base == ir::no_value && !t.frame && t.index != ir::no_value) {
      t.base = b;
      absorbed_[a]++;
      return t;
    }
  }
  Shape s;
  s.base = a;
  s.index = b;
  return s;
}

void Facts::find_shapes() {
  const auto every = [&](auto&& what) {
    for (const Block& block : code_.blocks) {
      if (block.source == ir::no_block) continue;
      for (const Value v : f_.blocks[block.source].insns) what(v, f_.insns[v]);
    }
  };
  every([&](Value, const ir::Inst& inst) {
    if (has_address(inst.op)) address_uses_[root(f_.operands_of(inst)[0])]++;
  });
  every([&](Value v, const ir::Inst& inst) {
    absorbable_[v] = root_[v] == v && uses_[v] != 0 && may_absorb(v);
    if (root_[v] == v && uses_[v] != 0 && (inst.op == Op::add || absorbable_[v])) {
      shape_at_[v] = static_cast<u32>(shapes_.size());
      shapes_.emplace_back();
    }
  });
  for (bool changed = true; changed;) {
    changed = false;
    std::fill(absorbed_.begin(), absorbed_.end(), 0);
    every([&](Value v, const ir::Inst& inst) {
      if (shape_at_[v] != none) shapes_[shape_at_[v]] = shape_of(v);
      if (!has_address(inst.op)) return;
      const Value at = root(f_.operands_of(inst)[0]);
      const s64 disp = shape_at_[at] != none ? shapes_[shape_at_[at]].disp + inst.imm : 0;
      if (f_.insns[at].width == 64 && can_absorb(at, inst) && disp == static_cast<s32>(disp)) absorbed_[at]++;
    });
    every([&](Value v, const ir::Inst&) {
      if (absorbable_[v] && absorbed_[v] != uses_[v]) absorbable_[v] = 0, changed = true;
    });
  }
  every([&](Value v, const ir::Inst&) {
    if (absorbable_[v]) folded_[v] = 1;
  });
}

Shape Facts::sum(Value v) const { return shapes_[shape_at_[v]]; }

Shape Facts::address(Value v) const {
  if (shape_at_[v] != none && folded_[v]) return shapes_[shape_at_[v]];
  Shape s;
  if (f_.insns[v].op == Op::frame) {
    s.frame = true;
    s.disp = f_.insns[v].imm;
  } else {
    s.base = v;
  }
  return s;
}

}  // namespace skep::vm::backend
