// x86-64: arithmetic. See select_x86_64.hpp.
#include "vm/jit/backend/select_x86_64.hpp"

#include <bit>
#include <limits>

#include "vm/jit/backend/passes.hpp"

namespace skep::vm::backend {

using ir::Op;
using x86::Alu;
using x86::Reg;
using x86::Shift;

void SelectX86::instruction(Value v, const ir::Inst& inst) {
  if (ir::row(inst.op).effect == ir::Effect::pure) return pure(v, inst);
  if (ir::row(inst.op).effect == ir::Effect::leaves) return leave(inst);
  switch (inst.op) {
    case Op::load:
    case Op::load_swapped:
    case Op::load_acquire:
      return load(v, inst);
    case Op::store:
    case Op::store_swapped:
    case Op::store_release:
      return store(inst);
    case Op::atomic:
    case Op::exchange:
    case Op::compare_exchange:
      return atomic(v, inst);
    default:
      return call(v, inst);
  }
}

void SelectX86::pure(Value v, const ir::Inst& inst) {
  switch (inst.op) {
    case Op::add:
      return add(v, inst);
    case Op::sub:
      return subtract(v, inst);
    case Op::and_:
      return logic(v, inst, Alu::and_);
    case Op::or_:
      return logic(v, inst, Alu::or_);
    case Op::xor_:
      return logic(v, inst, Alu::xor_);
    case Op::mul:
      return multiply(v, inst);
    case Op::mulh:
      return multiply_high(v, inst);
    case Op::shl:
      return shift(v, inst, Shift::shl);
    case Op::shr:
      return shift(v, inst, Shift::shr);
    case Op::sar:
      return shift(v, inst, Shift::sar);
    case Op::rol:
      return rotate(v, inst);
    case Op::udiv:
    case Op::sdiv:
    case Op::umod:
    case Op::smod:
      return divide(v, inst);
    case Op::select:
      return select(v, inst);
    default:
      return one(v, inst);
  }
}

/// Sums that no user absorbed: with a scaled index or three parts by lea, else as an addition (the emitter takes lea
/// when neither operand dies).
void SelectX86::add(Value v, const ir::Inst& inst) {
  const Shape s = facts_.sum(v);
  const bool plain = s.scale == 0 && !s.frame && s.base != ir::no_value && (s.index == ir::no_value || s.disp == 0);
  s64 value = 0;
  if (plain && s.index == ir::no_value)
    return alu_imm(register_of(v), Alu::add, inst.width, register_of(s.base), s.disp);
  if (plain && !is_constant(s.base) && !is_constant(s.index)) {
    const Value a = operand(inst, 0), b = operand(inst, 1);
    if ((s.base == a && s.index == b) || (s.base == b && s.index == a))
      return commutative(register_of(v), X::alu, Alu::add, inst);
    return alu_rr(register_of(v), Alu::add, inst.width, register_of(s.base), register_of(s.index));
  }
  if (plain && is_constant(s.index) && immediate(s.index, inst.width, value))
    return alu_imm(register_of(v), Alu::add, inst.width, register_of(s.base), value);
  begin(X::lea, inst.width);
  last().scale = s.scale;
  last().frame = s.frame;
  last().disp = static_cast<s32>(s.disp);
  if (s.base != ir::no_value) {
    const u8 place = use_value(s.base);
    last().base = last().tied = place;
  }
  if (s.index != ir::no_value) {
    const u8 place = use_value(s.index);
    last().index = place;
    if (last().tied == absent) last().tied = place;
  }
  define(register_of(v));
}

void SelectX86::subtract(Value v, const ir::Inst& inst) {
  s64 value = 0;
  const Value a = operand(inst, 0), b = operand(inst, 1);
  if (immediate(b, inst.width, value) && value != std::numeric_limits<s32>::min())
    return alu_imm(register_of(v), Alu::add, inst.width, register_of(a), -value);
  const bool taken = can_take_load(b) && f_.insns[b].bits == inst.width;
  begin(X::alu, inst.width).sub = static_cast<u8>(Alu::sub);
  last().a = last().tied = use_value(a, Use::any);
  if (taken)
    address_of_load(b, Use::late);
  else
    last().b = use_value(b, Use::any_late);
  define(register_of(v), Def::early);
}

/// Both operands may become the result's register, and one of them may be memory.
void SelectX86::commutative(VReg def, X op, Alu sub, const ir::Inst& inst) {
  Value a = operand(inst, 0), b = operand(inst, 1);
  const auto loads = [&](Value v) { return can_take_load(v) && f_.insns[v].bits == inst.width; };
  if (!loads(b) && loads(a)) std::swap(a, b);
  const bool taken = loads(b) && a != b;
  if (inst.width == 32 && !taken) {
    a = low_bits(a, 32);
    b = operand(inst, 0) == operand(inst, 1) ? a : low_bits(b, 32);
  }
  begin(op, inst.width).sub = static_cast<u8>(sub);
  last().a = last().tied = use_value(a, Use::any);
  if (taken) {
    address_of_load(b, Use::late);
    define(def, Def::early);
    return;
  }
  last().b = last().tied_too = use_value(b, Use::any);
  define(def);
}

void SelectX86::logic(Value v, const ir::Inst& inst, Alu op) {
  s64 value = 0;
  if (op == Alu::and_ && and_constant(v, inst)) return;
  const Value b = operand(inst, 1);
  if (immediate(b, inst.width, value))
    return alu_imm(register_of(v), op, inst.width,
                   register_of(inst.width == 32 ? low_bits(operand(inst, 0), 32) : operand(inst, 0)), value);
  commutative(register_of(v), X::alu, op, inst);
}

/// Masks of whole bytes are extensions; a mask without an upper half needs no 64-bit instruction.
bool SelectX86::and_constant(Value v, const ir::Inst& inst) {
  const Value b = operand(inst, 1);
  if (!is_constant(b)) return false;
  const u64 mask = inst.width == 32 ? static_cast<u32>(imm(b)) : static_cast<u64>(imm(b));
  if (mask > 0xffffffffu) return false;
  const VReg a = register_of(low_bits(operand(inst, 0), 32));
  if (mask == 0xff || mask == 0xffff || mask == 0xffffffffu)
    extend(register_of(v), 64, a, static_cast<u8>(std::countr_one(mask)), false);
  else
    alu_imm(register_of(v), Alu::and_, 32, a, static_cast<s32>(mask));
  return true;
}

void SelectX86::multiply(Value v, const ir::Inst& inst) {
  s64 value = 0;
  const Value b = operand(inst, 1);
  if (immediate(b, inst.width, value))
    return multiply_imm(register_of(v), inst.width, register_of(operand(inst, 0)), value);
  if (is_constant(b) && std::has_single_bit(static_cast<u64>(imm(b))) && inst.width == 64)
    return shift_imm(register_of(v), Shift::shl, 64, register_of(operand(inst, 0)),
                     std::countr_zero(static_cast<u64>(imm(b))));
  commutative(register_of(v), X::multiply, Alu::add, inst);
}

void SelectX86::multiply_imm(VReg def, u8 width, VReg a, s64 value) {
  if (value > 0 && std::has_single_bit(static_cast<u64>(value)))
    return shift_imm(def, Shift::shl, width, a, std::countr_zero(static_cast<u64>(value)));
  if (value == 3 || value == 5 || value == 9) {
    begin(X::lea, width).scale = value == 3 ? 1 : value == 5 ? 2 : 3;
    const u8 base = use(a), index = use(a);
    last().base = base;
    last().index = index;
    define(def);
    return;
  }
  begin(X::multiply_imm, width).imm = value;
  last().a = use(a, Use::any);
  define(def);
}

void SelectX86::shift(Value v, const ir::Inst& inst, Shift op) {
  Value a = operand(inst, 0), count = operand(inst, 1);
  if (is_constant(count)) {
    const s64 n = imm(count) & (inst.width - 1);
    if (op == Shift::shl && inst.width == 32) a = low_bits(a, 32);
    return shift_imm(register_of(v), op, inst.width, register_of(a), n);
  }
  for (;;) {  // the CPU looks at no more bits of the count either
    count = low_bits(count, 8);
    const ir::Inst& made = f_.insns[count];
    s64 mask = 0;
    if (made.op != Op::and_ || !only_here(count) || !immediate(operand(made, 1), 64, mask)) break;
    if ((mask & (inst.width - 1)) != inst.width - 1) break;
    take(count);
    count = operand(made, 0);
  }
  begin(X::shift, inst.width).sub = static_cast<u8>(op);
  if (target_.bmi2) {
    last().flag = true;
    last().a = use_value(a);
    last().b = use_value(count);
    define(register_of(v));
    return;
  }
  last().a = use_value(a, Use::late);
  last().tied = last().a;
  last().b = use_value(count, Use::fixed, number(Reg::rcx));
  last().clobbers = bit(Reg::rcx);
  define(register_of(v), Def::early);
}

void SelectX86::rotate(Value v, const ir::Inst& inst) {
  const Value a = operand(inst, 0), count = operand(inst, 1);
  if (is_constant(count))
    return shift_imm(register_of(v), Shift::rol, inst.width, register_of(a), imm(count) & (inst.width - 1));
  begin(X::shift, inst.width).sub = static_cast<u8>(Shift::rol);
  last().a = last().tied = use_value(a, Use::late);
  last().b = use_value(count, Use::fixed, number(Reg::rcx));
  last().clobbers = bit(Reg::rcx);
  define(register_of(v), Def::early);
}

/// neg, sext, zext, bswap, popcount, leading_zeros.
void SelectX86::one(Value v, const ir::Inst& inst) {
  const VReg def = register_of(v);
  if (inst.op == Op::zext || inst.op == Op::sext)
    return extend(def, inst.width, register_of(low_bits(operand(inst, 0), inst.bits)), inst.bits, inst.op == Op::sext);
  if (inst.op == Op::blinded) {
    begin(X::blinded).imm = inst.imm;
    define(def);
    return;
  }
  if (inst.op == Op::popcount || inst.op == Op::leading_zeros) {
    const Value a = inst.width == 32 ? low_bits(operand(inst, 0), 32) : operand(inst, 0);
    begin(X::count, inst.width).flag = inst.op == Op::leading_zeros;
    last().a = last().tied = use_value(a);
    define(def);
    return;
  }
  begin(inst.op == Op::neg ? X::negate : X::swap, inst.width).bits = inst.bits;
  last().a = last().tied = use_value(operand(inst, 0), Use::any);
  define(def);
}

// --- pieces of arithmetic over registers ---

void SelectX86::alu_imm(VReg def, Alu op, u8 width, VReg a, s64 value) {
  begin(X::alu, width).sub = static_cast<u8>(op);
  last().imm = value;
  last().a = last().tied = use(a, Use::any);
  define(def);
}

void SelectX86::alu_rr(VReg def, Alu op, u8 width, VReg a, VReg b) {
  begin(X::alu, width).sub = static_cast<u8>(op);
  last().a = last().tied = use(a, Use::any);
  const bool ordered = op == Alu::sub;
  last().b = use(b, ordered ? Use::any_late : Use::any);
  if (!ordered) last().tied_too = last().b;
  define(def, ordered ? Def::early : Def::late);
}

void SelectX86::shift_imm(VReg def, Shift op, u8 width, VReg a, s64 count) {
  begin(X::shift_imm, width).sub = static_cast<u8>(op);
  last().imm = count;
  last().a = last().tied = use(a, Use::any);
  define(def);
}

void SelectX86::extend(VReg def, u8 width, VReg a, u8 bits, bool sign) {
  begin(X::extend, width).bits = bits;
  last().sign = sign;
  last().a = use(a, Use::any);
  if (bits >= 32) last().tied = last().a;
  define(def);
}

void select_x86_64(const ir::Function& f, const Target& target, Code& code) { SelectX86(f, target, code).run(true); }

}  // namespace skep::vm::backend
