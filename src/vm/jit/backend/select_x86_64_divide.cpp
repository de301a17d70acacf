// x86-64: divisions. Those by constants become multiplications by a rounded reciprocal (reciprocal.hpp).
#include <bit>

#include "vm/jit/backend/reciprocal.hpp"
#include "vm/jit/backend/select_x86_64.hpp"

namespace skep::vm::backend {

using ir::Op;
using x86::Alu;
using x86::Reg;
using x86::Shift;

void SelectX86::divide(Value v, const ir::Inst& inst) {
  const Value a = operand(inst, 0), b = operand(inst, 1);
  const bool sign = inst.op == Op::sdiv || inst.op == Op::smod;
  const bool is_remainder = inst.op == Op::umod || inst.op == Op::smod;
  u8 width = inst.width;
  if (is_constant(b)) {
    const s64 divisor = width == 32 ? (sign ? static_cast<s32>(imm(b)) : s64{static_cast<u32>(imm(b))}) : imm(b);
    if (divide_by_constant(v, inst, divisor)) return;
  }
  if (!sign && facts_.upper_zero(a) && facts_.upper_zero(b)) width = 32;
  begin(X::divide, width).sub = is_remainder;
  last().sign = sign;
  const bool constant_divisor = is_constant(b) && !sign && (width == 32 ? static_cast<u32>(imm(b)) : imm(b)) != 0;
  last().flag = inst.has(ir::Inst::nonzero) || constant_divisor;
  last().a = use_value(a, Use::fixed, number(Reg::rax));
  last().b = use_value(b, Use::late);
  last().clobbers = bit(Reg::rax) | bit(Reg::rdx);
  define(register_of(v), Def::fixed, number(is_remainder ? Reg::rdx : Reg::rax));
}

bool SelectX86::divide_by_constant(Value v, const ir::Inst& inst, s64 divisor) {
  const bool sign = inst.op == Op::sdiv || inst.op == Op::smod;
  const bool is_remainder = inst.op == Op::umod || inst.op == Op::smod;
  const u64 size = sign && divisor < 0 ? 0 - static_cast<u64>(divisor) : static_cast<u64>(divisor);
  const u8 width = inst.width;
  if (size < 2 || (sign && size >> (width - 1) != 0)) return false;
  const VReg def = register_of(v);
  const Value a = operand(inst, 0);
  if (std::has_single_bit(size) && !sign) {
    if (!is_remainder) return shift_imm(def, Shift::shr, width, register_of(a), std::countr_zero(size)), true;
    if (size - 1 <= 0x7fffffff) return alu_imm(def, Alu::and_, 32, register_of(a), static_cast<s64>(size - 1)), true;
    alu_rr(def, Alu::and_, width, register_of(a), constant(static_cast<s64>(size - 1)));
    return true;
  }
  const VReg quotient = is_remainder ? temporary() : def;
  if (sign)
    signed_quotient(quotient, width, register_of(a), divisor);
  else
    unsigned_quotient(quotient, width, a, size);
  if (is_remainder) remainder(def, width, register_of(a), quotient, divisor);
  return true;
}

/// a - quotient * divisor.
void SelectX86::remainder(VReg def, u8 width, VReg a, VReg quotient, s64 divisor) {
  const VReg product = temporary();
  if (width == 32)
    multiply_imm(product, width, quotient, static_cast<s32>(divisor));
  else
    multiply_by(product, quotient, divisor);
  alu_rr(def, Alu::sub, width, a, product);
}

/// The lower half of a product.
void SelectX86::multiply_by(VReg def, VReg a, s64 factor) {
  if (x86::fits_s32(factor)) return multiply_imm(def, 64, a, factor);
  const VReg other = constant(factor);
  begin(X::multiply);
  last().a = last().tied = use(a, Use::any);
  last().b = use(other);
  define(def);
}

/// The upper half of the 128-bit product.
void SelectX86::product_high(VReg made, VReg a, VReg b, bool sign) {
  const bool three = target_.bmi2 && !sign;
  begin(X::multiply_high).flag = three;
  last().sign = sign;
  last().a = use(a, Use::fixed, number(three ? Reg::rdx : Reg::rax));
  last().b = use(b, Use::late);
  last().clobbers = three ? bit(Reg::rdx) : bit(Reg::rax) | bit(Reg::rdx);
  if (three)
    define(made);
  else
    define(made, Def::fixed, number(Reg::rdx));
}

void SelectX86::unsigned_quotient(VReg def, u8 width, Value value, u64 d) {
  VReg a = register_of(value);
  if (width == 32) {
    if (!facts_.upper_zero(value)) {
      const VReg low = temporary();
      extend(low, 64, a, 32, false);
      a = low;
    }
    const Reciprocal32 r = reciprocal_32(d);
    if (r.high) return product_high(def, a, constant(static_cast<s64>(r.factor)), false);
    const VReg product = temporary();
    multiply_by(product, a, static_cast<s64>(r.factor));
    return shift_imm(def, Shift::shr, 64, product, r.shift);
  }
  if (d > u64{1} << 63) {  // the quotient is 0 or 1
    const VReg factor = constant(static_cast<s64>(d));
    begin(X::set).condition = ir::Condition::uge;
    last().compare = static_cast<u8>(Compare::rr);
    last().a = use(a);
    last().b = use(factor);
    define(def);
    return;
  }
  const Reciprocal64 r = reciprocal_64(d);
  if (!r.add) {
    VReg reduced = a;
    if (r.before != 0) shift_imm(reduced = temporary(), Shift::shr, 64, a, r.before);
    const VReg high = r.shift == 0 ? def : temporary();
    product_high(high, reduced, constant(static_cast<s64>(r.factor)), false);
    if (r.shift != 0) shift_imm(def, Shift::shr, 64, high, r.shift);
    return;
  }
  const VReg t = temporary(), rest = temporary(), half = temporary(), sum = temporary();
  product_high(t, a, constant(static_cast<s64>(r.factor)), false);
  alu_rr(rest, Alu::sub, 64, a, t);
  shift_imm(half, Shift::shr, 64, rest, 1);
  alu_rr(sum, Alu::add, 64, half, t);
  shift_imm(def, Shift::shr, 64, sum, r.shift - 1);
}

void SelectX86::signed_quotient(VReg def, u8 width, VReg a, s64 divisor) {
  const u64 d = divisor < 0 ? 0 - static_cast<u64>(divisor) : static_cast<u64>(divisor);
  const u32 n = width;
  const VReg positive = divisor < 0 ? temporary() : def;
  if (std::has_single_bit(d)) {  // add d - 1 to negative dividends, then shift
    const u32 k = static_cast<u32>(std::countr_zero(d));
    const VReg sign = temporary(), bias = temporary(), sum = temporary();
    shift_imm(sign, Shift::sar, width, a, n - 1);
    shift_imm(bias, Shift::shr, width, sign, n - k);
    alu_rr(sum, Alu::add, width, a, bias);
    shift_imm(positive, Shift::sar, width, sum, k);
  } else {
    const SignedReciprocal r = signed_reciprocal(d, n);
    const s64 factor = static_cast<s64>(r.factor);
    const VReg quotient = temporary(), sign = temporary(), product = temporary();
    if (width == 32) {
      const VReg wide = temporary();
      extend(wide, 64, a, 32, true);
      multiply_by(product, wide, factor);
      shift_imm(quotient, Shift::sar, 64, product, 32 + r.shift);
      shift_imm(sign, Shift::shr, 32, a, 31);
    } else {
      product_high(product, a, constant(factor), true);
      VReg high = product;
      if (factor < 0) alu_rr(high = temporary(), Alu::add, 64, product, a);  // it was read as 2^64 too small
      shift_imm(quotient, Shift::sar, 64, high, r.shift);
      shift_imm(sign, Shift::shr, 64, a, 63);
    }
    alu_rr(positive, Alu::add, width, quotient, sign);
  }
  if (divisor > 0) return;
  begin(X::negate, width);
  last().a = last().tied = use(positive, Use::any);
  define(def);
}

}  // namespace skep::vm::backend
