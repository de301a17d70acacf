// x86-64: divisions. Those by constants become multiplications by a rounded reciprocal.
//
// Unsigned: floor(a * m / 2^(N+s)) with m = ceil(2^(N+s) / d) is the quotient for every N-bit a when s is the
// smallest number with 2^s >= d; when m then needs N+1 bits, the missing bit costs an addition (N = 64) or a full
// 64-bit reciprocal (N = 32). Signed: the same with N-1, and one is added to negative quotients.
// Source: Granlund, Montgomery, "Division by Invariant Integers using Multiplication" (1994).
#include <bit>

#include "vm/jit/backend/select_x86_64.hpp"

namespace skep::vm::backend {

using ir::Op;
using x86::Alu;
using x86::Reg;
using x86::Shift;
using u128 = unsigned __int128;

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
void SelectX86::product_high(VReg made, VReg a, s64 factor, bool sign) {
  const bool three = target_.bmi2 && !sign;
  const VReg other = constant(factor);
  begin(X::multiply_high).flag = three;
  last().sign = sign;
  last().a = use(a, Use::fixed, number(three ? Reg::rdx : Reg::rax));
  last().b = use(other, Use::late);
  last().clobbers = three ? bit(Reg::rdx) : bit(Reg::rax) | bit(Reg::rdx);
  if (three)
    define(made);
  else
    define(made, Def::fixed, number(Reg::rdx));
}

void SelectX86::unsigned_quotient(VReg def, u8 width, Value value, u64 d) {
  VReg a = register_of(value);
  const u32 s = 64 - static_cast<u32>(std::countl_zero(d - 1));  // smallest with 2^s >= d
  if (width == 32) {
    if (!facts_.upper_zero(value)) {
      const VReg low = temporary();
      extend(low, 64, a, 32, false);
      a = low;
    }
    // The smallest reciprocal that is exact for 32-bit dividends; with at most 32 bits the product fits.
    for (u32 shift = 0; shift <= s; shift++) {
      const u128 whole = u128{1} << (32 + shift);
      const u64 m = static_cast<u64>((whole + d - 1) / d);
      if (static_cast<u64>(u128{m} * d - whole) > u64{1} << shift) continue;
      if (m > 0xffffffffu) break;
      const VReg product = temporary();
      multiply_by(product, a, static_cast<s64>(m));
      return shift_imm(def, Shift::shr, 64, product, 32 + shift);
    }
    const u64 reciprocal = static_cast<u64>(((u128{1} << 64) + d - 1) / d);
    return product_high(def, a, static_cast<s64>(reciprocal), false);
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
  // Even divisors: halving first may leave a reciprocal of 64 bits.
  for (u32 before = 0; before <= static_cast<u32>(std::countr_zero(d)); before++) {
    const u64 rest = d >> before;
    for (u32 shift = 0; shift < 64; shift++) {
      const u128 whole = u128{1} << (64 + shift), m = (whole + rest - 1) / rest;
      if (m >> 64 != 0) break;
      if (m * rest - whole > u128{1} << (shift + before)) continue;
      VReg reduced = a;
      if (before != 0) shift_imm(reduced = temporary(), Shift::shr, 64, a, before);
      const VReg high = shift == 0 ? def : temporary();
      product_high(high, reduced, static_cast<s64>(static_cast<u64>(m)), false);
      if (shift != 0) shift_imm(def, Shift::shr, 64, high, shift);
      return;
    }
  }
  // m = 2^64 + low: the quotient is (((a - t) >> 1) + t) >> (s - 1) with t the upper half of a * low.
  const u64 low = static_cast<u64>((((u128{1} << s) - d) << 64) / d + 1);
  const VReg t = temporary(), rest = temporary(), half = temporary(), sum = temporary();
  product_high(t, a, static_cast<s64>(low), false);
  alu_rr(rest, Alu::sub, 64, a, t);
  shift_imm(half, Shift::shr, 64, rest, 1);
  alu_rr(sum, Alu::add, 64, half, t);
  shift_imm(def, Shift::shr, 64, sum, s - 1);
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
    u32 s = 0;
    u128 m = 0;
    for (;; s++) {  // ends at floor(log2 d) at the latest
      const u128 whole = u128{1} << (n + s);
      m = whole / d + 1;
      if (m * d - whole <= u128{1} << (s + 1)) break;
    }
    const s64 factor = static_cast<s64>(static_cast<u64>(m));
    const VReg quotient = temporary(), sign = temporary(), product = temporary();
    if (width == 32) {
      const VReg wide = temporary();
      extend(wide, 64, a, 32, true);
      multiply_by(product, wide, factor);
      shift_imm(quotient, Shift::sar, 64, product, 32 + s);
      shift_imm(sign, Shift::shr, 32, a, 31);
    } else {
      product_high(product, a, factor, true);
      VReg high = product;
      if (factor < 0) alu_rr(high = temporary(), Alu::add, 64, product, a);  // it was read as 2^64 too small
      shift_imm(quotient, Shift::sar, 64, high, s);
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
