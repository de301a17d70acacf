// AArch64: comparisons, for branches and selects. See select_arm64.hpp.
//
// A comparison is part of its branch or select, so nothing can come between them and the flags.
#include <bit>

#include "vm/jit/backend/select_arm64.hpp"

namespace skep::vm::backend {

using ir::Condition;
using ir::Op;

namespace {

bool is_test(Condition c) { return c == Condition::set || c == Condition::clear; }
bool is_equality(Condition c) { return c == Condition::eq || c == Condition::ne; }

/// The immediate of a comparison, or of one with the negative number.
bool fits_compare(s64 v, u8 width) {
  if (v < 0 && v != (width == 32 ? s64{INT32_MIN} : INT64_MIN)) v = -v;
  return v >= 0 && arm64::fits_sum(static_cast<u64>(v));
}

/// The same question with a constant next to it: a > c is a >= c + 1.
bool beside(Condition& c, s64& value) {
  switch (c) {
    case Condition::ugt:
    case Condition::ule:
    case Condition::sgt:
    case Condition::sle:
      if (value == -1 || value == INT64_MAX || value == INT32_MAX) return false;
      value++;
      c = c == Condition::ugt   ? Condition::uge
          : c == Condition::ule ? Condition::ult
          : c == Condition::sgt ? Condition::sge
                                : Condition::slt;
      return true;
    case Condition::uge:
    case Condition::ult:
    case Condition::sge:
    case Condition::slt:
      if (value == 0 || value == INT64_MIN || value == INT32_MIN) return false;
      value--;
      c = c == Condition::uge   ? Condition::ugt
          : c == Condition::ult ? Condition::ule
          : c == Condition::sge ? Condition::sgt
                                : Condition::sle;
      return true;
    default:
      return false;
  }
}

}  // namespace

/// Completes the instruction at hand, which is a branch or select.
void SelectArm64::compare(const ir::Inst& inst) {
  Value a = operand(inst, 0), b = operand(inst, 1);
  Condition c = inst.condition;
  if (is_constant(a) && !is_constant(b)) {
    std::swap(a, b);
    c = ir::mirrored(c);
  }
  if (!is_constant(b)) return compare_values(c, inst.width, a, b);
  if (is_test(c)) return test_with(c, inst.width, a, seen(b, inst.width));
  compare_with(c, inst.width, a, seen(b, inst.width));
}

void SelectArm64::compare_values(Condition c, u8 width, Value a, Value b) {
  const bool swap = !can_change(b, width, !is_test(c)) && can_change(a, width, !is_test(c)) && a != b;
  if (swap) {
    std::swap(a, b);
    c = ir::mirrored(c);
  }
  last().width = width;
  last().condition = c;
  last().sub = static_cast<u8>(is_test(c) ? ArmCompare::test_rr : ArmCompare::rr);
  last().a = use_value(a);
  second_operand(b, width, !is_test(c));
}

void SelectArm64::compare_with(Condition c, u8 width, Value a, s64 value) {
  const ir::Inst& made = f_.insns[a];
  // (x & y) == 0 is a test of x.
  if (value == 0 && is_equality(c) && made.op == Op::and_ && made.width <= width && is_here(a)) {
    take(a);
    const Value x = operand(made, 0), y = operand(made, 1);
    c = c == Condition::eq ? Condition::clear : Condition::set;
    if (is_constant(y)) return test_with(c, made.width, x, seen(y, made.width));
    return compare_values(c, made.width, x, y);
  }
  if (width == 32) a = low_bits(a, 32);
  if (value == 0 && (c == Condition::slt || c == Condition::sge))  // the sign
    return test_with(c == Condition::slt ? Condition::set : Condition::clear, width, a,
                     width == 32 ? s64{INT32_MIN} : INT64_MIN);
  if (value == 0 && (c == Condition::ugt || c == Condition::ule))
    c = c == Condition::ugt ? Condition::ne : Condition::eq;
  s64 other = value;
  Condition with_other = c;
  if (!fits_compare(value, width) && beside(with_other, other) && fits_compare(other, width)) {
    value = other;
    c = with_other;
  }
  const bool fits = fits_compare(value, width);
  last().width = width;
  last().condition = c;
  last().imm = value;
  last().sub = static_cast<u8>(value == 0 && is_equality(c) ? ArmCompare::zero
                               : fits                       ? ArmCompare::ri
                                                            : ArmCompare::rr);
  last().a = use_value(a);
  if (!fits) last().b = use(constant(width == 32 ? static_cast<s64>(static_cast<u32>(value)) : value));
}

void SelectArm64::test_with(Condition c, u8 width, Value a, s64 mask) {
  const u64 bits = width == 32 ? static_cast<u32>(mask) : static_cast<u64>(mask);
  last().condition = c;
  last().width = bits <= 0xffffffffu ? 32 : 64;
  last().imm = static_cast<s64>(bits);
  const bool is_bit = std::has_single_bit(bits),
             is_mask = arm64::mask_fields(bits, arm_width(last().width)).has_value();
  last().sub = static_cast<u8>(is_bit ? ArmCompare::bit : is_mask ? ArmCompare::test_ri : ArmCompare::test_rr);
  if (is_bit) last().imm = std::countr_zero(bits);
  last().a = use_value(last().width == 32 ? low_bits(a, 32) : a);
  if (!is_bit && !is_mask) last().b = use(constant(static_cast<s64>(bits)));
}

/// May the value be made from another by the selection itself?
bool SelectArm64::otherwise(Value y, arm64::Else& kind, Value& changed, bool& is_zero) const {
  using arm64::Else;
  is_zero = is_constant(y) && (imm(y) == 0 || imm(y) == 1 || imm(y) == -1);
  if (is_zero) {
    kind = imm(y) == 0 ? Else::same : imm(y) == 1 ? Else::increment : Else::invert;
    return imm(y) != 0;
  }
  const ir::Inst& made = f_.insns[y];
  if (made.width != 64 || !is_here(y)) return false;
  if (made.op == Op::neg)
    kind = Else::negate;
  else if (is_inverted(y, 64))
    kind = Else::invert;
  else if (made.op == Op::add && is_constant(operand(made, 1)) && imm(operand(made, 1)) == 1)
    kind = Else::increment;
  else
    return false;
  changed = operand(made, 0);
  return true;
}

void SelectArm64::select(Value v, const ir::Inst& inst) {
  Value x = operand(inst, 2), y = operand(inst, 3);
  arm64::Else kind = arm64::Else::same;
  Value changed = y;
  bool is_zero = false, inverse = false;
  begin(A::select);
  if (x != y && !otherwise(y, kind, changed, is_zero)) {
    arm64::Else other_kind = kind;
    bool other_zero = false;
    if (otherwise(x, other_kind, changed, other_zero)) {
      std::swap(x, y);
      inverse = true;
      kind = other_kind;
      is_zero = other_zero;
    } else {
      changed = y;
    }
  }
  if (kind != arm64::Else::same && !is_zero) {
    take(y);
    y = changed;
  }
  compare(inst);
  if (inverse) last().condition = ir::inverse(last().condition);
  last().target = static_cast<u32>(kind);
  last().x = use_or_zero(x);
  if (!is_zero) last().y = use_or_zero(y);
  define(register_of(v));
}

}  // namespace skep::vm::backend
