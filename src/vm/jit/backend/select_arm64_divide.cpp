// AArch64: divisions. Those by constants become multiplications by a rounded reciprocal (reciprocal.hpp).
#include <bit>

#include "vm/jit/backend/reciprocal.hpp"
#include "vm/jit/backend/select_arm64.hpp"

namespace skep::vm::backend {

using ir::Op;

void SelectArm64::divide(Value v, const ir::Inst& inst) {
  const Value a = operand(inst, 0), b = operand(inst, 1);
  const bool sign = inst.op == Op::sdiv || inst.op == Op::smod;
  const bool is_remainder = inst.op == Op::umod || inst.op == Op::smod;
  u8 width = inst.width;
  if (is_constant(b)) {
    const s64 divisor = width == 32 && !sign ? s64{static_cast<u32>(imm(b))} : seen(b, width);
    if (divide_by_constant(v, inst, divisor)) return;
  }
  if (!sign && facts_.upper_zero(a) && facts_.upper_zero(b)) width = 32;
  const VReg def = register_of(v), quotient = is_remainder ? temporary() : def;
  three(A::divide, quotient, width, register_of(a), register_of(b), none, sign);
  if (is_remainder) three(A::msub, def, width, quotient, register_of(b), register_of(a));
}

bool SelectArm64::divide_by_constant(Value v, const ir::Inst& inst, s64 divisor) {
  const bool sign = inst.op == Op::sdiv || inst.op == Op::smod;
  const bool is_remainder = inst.op == Op::umod || inst.op == Op::smod;
  const u64 size = sign && divisor < 0 ? 0 - static_cast<u64>(divisor) : static_cast<u64>(divisor);
  const u8 width = inst.width;
  if (size < 2 || (sign && size >> (width - 1) != 0)) return false;
  const VReg def = register_of(v), a = register_of(operand(inst, 0));
  if (std::has_single_bit(size) && !sign) {
    const u32 log = static_cast<u32>(std::countr_zero(size));
    if (is_remainder)
      field(A::extract, def, width, a, 0, log, false);
    else
      shift_imm(def, Shift::lsr, width, a, log);
    return true;
  }
  const VReg quotient = is_remainder ? temporary() : def;
  if (sign)
    signed_quotient(quotient, width, a, divisor);
  else
    unsigned_quotient(quotient, width, a, size);
  if (is_remainder) three(A::msub, def, width, quotient, constant(divisor), a);
  return true;
}

void SelectArm64::unsigned_quotient(VReg def, u8 width, VReg a, u64 d) {
  if (width == 32) {
    const Reciprocal32 r = reciprocal_32(d);
    const VReg factor = constant(static_cast<s64>(r.factor)), product = r.high ? def : temporary();
    if (!r.high) {
      three(A::mull, product, 64, a, factor, none);
      return shift_imm(def, Shift::lsr, 64, product, r.shift);
    }
    const VReg low = temporary();
    begin(A::move, 32);
    last().a = use(a);
    define(low);
    return three(A::mulh, product, 64, low, factor, none);
  }
  if (d > u64{1} << 63) {  // the quotient is 0 or 1
    const VReg least = constant(static_cast<s64>(d));
    begin(A::select).condition = ir::Condition::ult;
    last().sub = static_cast<u8>(ArmCompare::rr);
    last().target = static_cast<u32>(arm64::Else::increment);
    last().a = use(a);
    last().b = use(least);
    define(def);
    return;
  }
  const Reciprocal64 r = reciprocal_64(d);
  const VReg factor = constant(static_cast<s64>(r.factor));
  if (!r.add) {
    VReg reduced = a;
    if (r.before != 0) shift_imm(reduced = temporary(), Shift::lsr, 64, a, r.before);
    const VReg high = r.shift == 0 ? def : temporary();
    three(A::mulh, high, 64, reduced, factor, none);
    if (r.shift != 0) shift_imm(def, Shift::lsr, 64, high, r.shift);
    return;
  }
  const VReg t = temporary(), rest = temporary(), sum = temporary();
  three(A::mulh, t, 64, a, factor, none);
  alu_rr(rest, Alu::sub, 64, a, t);
  alu_rr(sum, Alu::add, 64, t, rest, Modifier::lsr, 1);
  shift_imm(def, Shift::lsr, 64, sum, r.shift - 1);
}

/// The sign of the dividend is added as a shifted operand.
void SelectArm64::signed_quotient(VReg def, u8 width, VReg a, s64 divisor) {
  const u64 d = divisor < 0 ? 0 - static_cast<u64>(divisor) : static_cast<u64>(divisor);
  const u8 n = static_cast<u8>(width - 1);
  const VReg positive = divisor < 0 ? temporary() : def;
  if (std::has_single_bit(d)) {  // add d - 1 to negative dividends, then shift
    const u32 k = static_cast<u32>(std::countr_zero(d));
    const VReg sign = temporary(), sum = temporary();
    shift_imm(sign, Shift::asr, width, a, n);
    alu_rr(sum, Alu::add, width, a, sign, Modifier::lsr, static_cast<u8>(width - k));
    shift_imm(positive, Shift::asr, width, sum, k);
  } else {
    const SignedReciprocal r = signed_reciprocal(d, width);
    const VReg quotient = temporary(), product = temporary();
    if (width == 32) {
      const VReg wide = temporary(), factor = constant(static_cast<s64>(r.factor));
      field(A::extract, wide, 64, a, 0, 32, true);
      three(A::madd, product, 64, wide, factor, none);
      shift_imm(quotient, Shift::asr, 64, product, 32 + r.shift);
    } else {
      const VReg factor = constant(static_cast<s64>(r.factor));
      three(A::mulh, product, 64, a, factor, none, true);
      VReg high = product;
      if (r.factor >> 63 != 0) alu_rr(high = temporary(), Alu::add, 64, product, a);  // it was read as 2^64 too small
      shift_imm(quotient, Shift::asr, 64, high, r.shift);
    }
    alu_rr(positive, Alu::add, width, quotient, a, Modifier::lsr, n);
  }
  if (divisor > 0) return;
  begin(A::alu, width).sub = static_cast<u8>(Alu::sub);
  last().b = use(positive);
  define(def);
}

}  // namespace skep::vm::backend
