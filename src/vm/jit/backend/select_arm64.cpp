// AArch64: arithmetic. See select_arm64.hpp.
#include "vm/jit/backend/select_arm64.hpp"

#include <algorithm>
#include <bit>

#include "vm/jit/backend/passes.hpp"

namespace skep::vm::backend {

using ir::Op;

void SelectArm64::instruction(Value v, const ir::Inst& inst) {
  if (ir::row(inst.op).effect == ir::Effect::pure) return pure(v, inst);
  if (ir::row(inst.op).effect == ir::Effect::leaves) return leave(inst);
  switch (inst.op) {
    case Op::load:
    case Op::load_swapped:
      return load(v, inst);
    case Op::store:
    case Op::store_swapped:
      return store(inst);
    case Op::atomic:
    case Op::exchange:
    case Op::compare_exchange:
    case Op::load_acquire:
    case Op::store_release:
      return atomic(v, inst);
    default:
      return call(v, inst);
  }
}

void SelectArm64::pure(Value v, const ir::Inst& inst) {
  switch (inst.op) {
    case Op::add:
      return add(v, inst);
    case Op::sub:
      return subtract(v, inst);
    case Op::and_:
      return logic(v, inst, Alu::and_);
    case Op::or_:
      return logic(v, inst, Alu::orr);
    case Op::xor_:
      return logic(v, inst, Alu::eor);
    case Op::mul:
      return multiply(v, inst);
    case Op::mulh:
      return three(A::mulh, register_of(v), 64, register_of(operand(inst, 0)), register_of(operand(inst, 1)), none);
    case Op::shl:
      return shift(v, inst, Shift::lsl);
    case Op::shr:
      return shift(v, inst, Shift::lsr);
    case Op::sar:
      return shift(v, inst, Shift::asr);
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

// --- what can vanish ---

bool SelectArm64::is_here(Value v) const {
  if (!only_here(v)) return false;
  const auto loop_of = [&](Value of) { return code_.blocks[code_.place[f_.insns[of].block]].loop; };
  return loop_of(v) == loop_of(at_);
}

bool SelectArm64::is_shift(Value v, Op op, u8 width, u32& count) const {
  const ir::Inst& made = f_.insns[v];
  if (made.op != op || made.width != width || !is_here(v) || !is_constant(operand(made, 1))) return false;
  count = static_cast<u32>(imm(operand(made, 1))) & (width - 1u);
  return true;
}

bool SelectArm64::is_inverted(Value v, u8 width) const {
  const ir::Inst& made = f_.insns[v];
  return made.op == Op::xor_ && made.width >= width && is_here(v) && is_constant(operand(made, 1)) &&
         !is_constant(operand(made, 0)) && seen(operand(made, 1), width) == -1;
}

/// Can the second operand's shift or extension be part of the instruction at hand?
bool SelectArm64::can_change(Value b, u8 width, bool is_sum) const {
  const ir::Inst& made = f_.insns[b];
  u32 count = 0;
  if (is_shift(b, Op::shl, width, count) || is_shift(b, Op::shr, width, count) || is_shift(b, Op::sar, width, count))
    return true;
  if (!is_sum) return is_shift(b, Op::rol, width, count);
  return (made.op == Op::zext || made.op == Op::sext) && made.bits < width && is_here(b) &&
         (made.op == Op::zext || made.width >= width);
}

/// Appends operand b with what it is made of.
void SelectArm64::second_operand(Value b, u8 width, bool is_sum) {
  if (!can_change(b, width, is_sum)) {
    last().b = use_value(b);
    return;
  }
  const ir::Inst& made = f_.insns[b];
  take(b);
  Value inner = operand(made, 0);
  u32 count = 0;
  Modifier by = Modifier::lsl;
  if (made.op == Op::zext || made.op == Op::sext) {
    const u32 log = made.bits == 8 ? 0 : made.bits == 16 ? 1 : 2;
    by = static_cast<Modifier>(static_cast<u32>(made.op == Op::sext ? Modifier::sxtb : Modifier::uxtb) + log);
  } else {
    count = static_cast<u32>(imm(operand(made, 1))) & (width - 1u);
    if (made.op == Op::shr) by = Modifier::lsr;
    if (made.op == Op::sar) by = Modifier::asr;
    if (made.op == Op::rol) by = Modifier::ror, count = (width - count) & (width - 1u);
    const ir::Inst& extended = f_.insns[inner];
    const bool is_index = is_sum && made.op == Op::shl && count <= 4 && can_change(inner, width, true) &&
                          (extended.op == Op::zext || extended.op == Op::sext);
    if (is_index) {
      take(inner);
      const u32 log = extended.bits == 8 ? 0 : extended.bits == 16 ? 1 : 2;
      by = static_cast<Modifier>(static_cast<u32>(extended.op == Op::sext ? Modifier::sxtb : Modifier::uxtb) + log);
      inner = operand(extended, 0);
    }
  }
  last().b = use_value(inner);
  last().compare = static_cast<u8>(by);
  last().scale = static_cast<u8>(count);
}

// --- arithmetic ---

void SelectArm64::add(Value v, const ir::Inst& inst) {
  const Value a = operand(inst, 0), b = operand(inst, 1);
  if (is_constant(b)) return add_constant(register_of(v), inst.width, register_of(a), seen(b, inst.width));
  if (multiply_add(v, inst, a, b) || multiply_add(v, inst, b, a)) return;
  const bool swapped = !can_change(b, inst.width, true) && can_change(a, inst.width, true);
  sum(register_of(v), Alu::add, inst.width, swapped ? b : a, swapped ? a : b);
}

void SelectArm64::subtract(Value v, const ir::Inst& inst) {
  const Value a = operand(inst, 0), b = operand(inst, 1);
  const s64 c = is_constant(b) ? seen(b, inst.width) : 0;
  if (is_constant(b))
    return add_constant(register_of(v), inst.width, register_of(a), static_cast<s64>(0 - static_cast<u64>(c)));
  if (multiply_add(v, inst, a, b)) return;
  sum(register_of(v), Alu::sub, inst.width, a, b);
}

void SelectArm64::sum(VReg def, Alu op, u8 width, Value a, Value b) {
  begin(A::alu, width).sub = static_cast<u8>(op);
  last().a = use_value(a);
  second_operand(b, width, true);
  define(def);
}

/// A product that is only added to something, or subtracted from it.
bool SelectArm64::multiply_add(Value v, const ir::Inst& inst, Value addend, Value product) {
  const ir::Inst& made = f_.insns[product];
  if (made.op != Op::mul || made.width < inst.width || !is_here(product) || addend == product) return false;
  if (is_constant(operand(made, 1)) && std::popcount(static_cast<u64>(imm(operand(made, 1)))) <= 2) return false;
  take(product);
  begin(inst.op == Op::add ? A::madd : A::msub, inst.width);
  last().a = use_value(operand(made, 0));
  last().b = use_value(operand(made, 1));
  last().x = use_or_zero(addend);
  define(register_of(v));
  return true;
}

void SelectArm64::logic(Value v, const ir::Inst& inst, Alu op) {
  const u8 width = inst.width;
  Value a = operand(inst, 0), b = operand(inst, 1);
  if (is_constant(b) && logic_constant(v, inst, op)) return;
  if (op != Alu::and_ && join_shifts(v, inst)) return;
  if (!is_inverted(b, width) && is_inverted(a, width)) std::swap(a, b);
  if (is_inverted(b, width) && a != b) {
    take(b);
    b = operand(f_.insns[b], 0);
    op = static_cast<Alu>(static_cast<u8>(op) + 1);
  } else if (!can_change(b, width, false) && can_change(a, width, false)) {
    std::swap(a, b);
  }
  begin(A::alu, width).sub = static_cast<u8>(op);
  last().a = use_value(a);
  second_operand(b, width, false);
  define(register_of(v));
}

/// Masks of low bits are bitfields; other masks an immediate; all ones with xor the inversion.
bool SelectArm64::logic_constant(Value v, const ir::Inst& inst, Alu op) {
  const Value b = operand(inst, 1);
  u8 width = inst.width;
  u64 mask = width == 32 ? static_cast<u32>(imm(b)) : static_cast<u64>(imm(b));
  Value a = operand(inst, 0);
  u32 count = 0;
  const u32 ones = static_cast<u32>(std::countr_one(mask));
  if (op == Alu::and_ && mask != 0 && (mask & (mask + 1)) == 0) {
    if (is_shift(a, Op::shr, width, count) && count + ones <= width) {
      take(a);
      field(A::extract, register_of(v), width, register_of(operand(f_.insns[a], 0)), count, ones, false);
      return true;
    }
    if (ones == width) return false;
  }
  if (op == Alu::and_ && mask <= 0xffffffffu) width = 32;  // a mask without an upper half
  if (op == Alu::and_ && mask == 0xffffffffu) {
    begin(A::move, 32);
    last().a = use_value(a);
    define(register_of(v));
    return true;
  }
  if (op == Alu::eor && seen(b, width) == -1) {
    begin(A::alu, width).sub = static_cast<u8>(Alu::orn);
    last().b = use_value(a);
    define(register_of(v));
    return true;
  }
  if (width == 32) a = low_bits(a, 32);
  const bool fits = arm64::mask_fields(mask, arm_width(width)).has_value();
  const VReg given = register_of(a), other = fits ? none : constant(static_cast<s64>(mask));
  begin(A::alu, width).sub = static_cast<u8>(op);
  last().imm = static_cast<s64>(mask);
  last().a = use(given);
  if (!fits) last().b = use(other);
  define(register_of(v));
  return true;
}

/// The upper bits of one value and the lower bits of another.
bool SelectArm64::join_shifts(Value v, const ir::Inst& inst) {
  Value high = operand(inst, 0), low = operand(inst, 1);
  u32 up = 0, down = 0;
  if (f_.insns[high].op == Op::shr) std::swap(high, low);
  if (!is_shift(high, Op::shl, inst.width, up) || !is_shift(low, Op::shr, inst.width, down)) return false;
  if (up == 0 || up + down != inst.width) return false;
  take(high);
  take(low);
  begin(A::extr, inst.width).imm = down;
  last().a = use_value(operand(f_.insns[high], 0));
  last().b = use_value(operand(f_.insns[low], 0));
  define(register_of(v));
  return true;
}

/// By 2^k: a shift; by 2^k + 1: an addition; by 1 - 2^k: a subtraction.
void SelectArm64::multiply(Value v, const ir::Inst& inst) {
  const Value a = operand(inst, 0), b = operand(inst, 1);
  const u8 width = inst.width;
  const VReg def = register_of(v);
  if (is_constant(b)) {
    const u64 factor = width == 32 ? static_cast<u32>(imm(b)) : static_cast<u64>(imm(b));
    const u64 mirrored = width == 32 ? static_cast<u32>(1 - factor) : 1 - factor;
    const VReg given = register_of(a);
    if (std::has_single_bit(factor))
      return shift_imm(def, Shift::lsl, width, given, static_cast<u32>(std::countr_zero(factor)));
    if (factor > 1 && std::has_single_bit(factor - 1))
      return alu_rr(def, Alu::add, width, given, given, Modifier::lsl, static_cast<u8>(std::countr_zero(factor - 1)));
    if (std::has_single_bit(mirrored))
      return alu_rr(def, Alu::sub, width, given, given, Modifier::lsl, static_cast<u8>(std::countr_zero(mirrored)));
  }
  three(A::madd, def, width, register_of(a), register_of(b), none);
}

void SelectArm64::shift(Value v, const ir::Inst& inst, Shift op) {
  const Value a = operand(inst, 0);
  Value count = operand(inst, 1);
  if (is_constant(count)) {
    const u32 n = static_cast<u32>(imm(count)) & (inst.width - 1u);
    if (bitfield(v, inst, op, n)) return;
    return shift_imm(register_of(v), op, inst.width, register_of(a), n);
  }
  for (;;) {  // the CPU looks at no more bits of the count either
    count = low_bits(count, 8);
    const ir::Inst& made = f_.insns[count];
    if (made.op != Op::and_ || !only_here(count) || !is_constant(operand(made, 1))) break;
    if ((imm(operand(made, 1)) & (inst.width - 1)) != inst.width - 1) break;
    take(count);
    count = operand(made, 0);
  }
  begin(A::shift, inst.width).sub = static_cast<u8>(op);
  last().a = use_value(a);
  last().b = use_value(count);
  define(register_of(v));
}

/// A shift of a shift to the left, or to the left of an extension or a mask of low bits, in one instruction.
bool SelectArm64::bitfield(Value v, const ir::Inst& inst, Shift op, u32 count) {
  const u8 width = inst.width;
  const Value a = operand(inst, 0);
  const ir::Inst& made = f_.insns[a];
  u32 up = 0;
  if (op != Shift::lsl) {
    if (!is_shift(a, Op::shl, width, up)) return false;
    take(a);
    const VReg given = register_of(operand(made, 0));
    const bool sign = op == Shift::asr;
    if (count >= up)
      field(A::extract, register_of(v), width, given, count - up, width - count, sign);
    else
      field(A::insert, register_of(v), width, given, up - count, width - up, sign);
    return true;
  }
  if (count == 0 || !is_here(a)) return false;
  u32 length = 0;
  bool sign = false;
  if (made.op == Op::zext || (made.op == Op::sext && made.width >= width)) {
    length = made.bits;
    sign = made.op == Op::sext;
  } else if (made.op == Op::and_ && is_constant(operand(made, 1))) {
    const u64 mask =
        made.width == 32 ? static_cast<u32>(imm(operand(made, 1))) : static_cast<u64>(imm(operand(made, 1)));
    if (mask == 0 || (mask & (mask + 1)) != 0) return false;
    length = static_cast<u32>(std::popcount(mask));
  } else {
    return false;
  }
  take(a);
  field(A::insert, register_of(v), width, register_of(operand(made, 0)), count, std::min(length, width - count), sign);
  return true;
}

void SelectArm64::rotate(Value v, const ir::Inst& inst) {
  const Value a = operand(inst, 0), count = operand(inst, 1);
  const VReg def = register_of(v), given = register_of(a);
  if (is_constant(count))
    return shift_imm(def, Shift::ror, inst.width, given, (0 - static_cast<u32>(imm(count))) & (inst.width - 1u));
  const VReg back = temporary();
  begin(A::alu, inst.width).sub = static_cast<u8>(Alu::sub);
  last().b = use_value(count);
  define(back);
  begin(A::shift, inst.width).sub = static_cast<u8>(Shift::ror);
  last().a = use(given);
  last().b = use(back);
  define(def);
}

/// neg, sext, zext, bswap, popcount, leading_zeros, blinded.
void SelectArm64::one(Value v, const ir::Inst& inst) {
  const VReg def = register_of(v);
  if (inst.op == Op::blinded) {
    begin(A::blinded).imm = inst.imm;
    define(def);
    return;
  }
  Value a = operand(inst, 0);
  if (inst.op == Op::neg) {
    begin(A::alu, inst.width).sub = static_cast<u8>(Alu::sub);
    last().b = use_value(a);
    define(def);
    return;
  }
  if (inst.op == Op::popcount || inst.op == Op::leading_zeros) {
    begin(A::count, inst.width).flag = inst.op == Op::leading_zeros;
    last().a = use_value(a);
    define(def);
    return;
  }
  if (inst.op == Op::bswap) {
    begin(A::rev).bits = inst.bits;
    last().a = use_value(a);
    define(def);
    return;
  }
  const bool sign = inst.op == Op::sext;
  u32 count = 0;
  const u8 width = f_.insns[a].width;
  if ((!sign || inst.width == width) && is_shift(a, Op::shr, width, count) && count + inst.bits <= width) {
    take(a);
    return field(A::extract, def, width, register_of(operand(f_.insns[a], 0)), count, inst.bits, sign);
  }
  a = low_bits(a, inst.bits);
  if (inst.bits < 32 || (sign && inst.width == 64))
    return field(A::extract, def, sign ? inst.width : 32, register_of(a), 0, inst.bits, sign);
  begin(A::move, inst.bits == 64 ? 64 : 32);
  last().a = use_value(a);
  define(def);
}

// --- pieces of arithmetic over registers ---

void SelectArm64::add_constant(VReg def, u8 width, VReg a, s64 value) {
  const u64 given = width == 32 ? static_cast<u32>(value) : static_cast<u64>(value);
  const u64 negative = width == 32 ? static_cast<u32>(0 - given) : 0 - given;
  const bool is_plus = arm64::fits_sum(given), is_minus = arm64::fits_sum(negative);
  if (!is_plus && !is_minus) return alu_rr(def, Alu::add, width, a, constant(static_cast<s64>(given)));
  begin(A::alu, width).sub = static_cast<u8>(is_plus ? Alu::add : Alu::sub);
  last().imm = static_cast<s64>(is_plus ? given : negative);
  last().a = last().tied = use(a);
  define(def);
}

void SelectArm64::alu_rr(VReg def, Alu op, u8 width, VReg a, VReg b, Modifier by, u8 amount) {
  begin(A::alu, width).sub = static_cast<u8>(op);
  last().a = use(a);
  last().b = use(b);
  last().compare = static_cast<u8>(by);
  last().scale = amount;
  define(def);
}

void SelectArm64::shift_imm(VReg def, Shift op, u8 width, VReg a, u32 count) {
  begin(A::shift_imm, width).sub = static_cast<u8>(op);
  last().imm = count;
  last().a = use(a);
  define(def);
}

void SelectArm64::field(A op, VReg def, u8 width, VReg a, u32 low, u32 length, bool sign) {
  begin(op, width).imm = low;
  last().bits = static_cast<u8>(length);
  last().sign = sign;
  last().a = use(a);
  define(def);
}

void SelectArm64::three(A op, VReg def, u8 width, VReg a, VReg b, VReg x, bool sign) {
  begin(op, width).sign = sign;
  last().a = use(a);
  last().b = use(b);
  if (x != none) last().x = use(x);
  define(def);
}

void select_arm64(const ir::Function& f, const Target& target, Code& code) { SelectArm64(f, target, code).run(false); }

}  // namespace skep::vm::backend
