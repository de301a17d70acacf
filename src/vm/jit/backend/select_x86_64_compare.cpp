// x86-64: comparisons, for branches and selects. See select_x86_64.hpp.
//
// A comparison is part of its branch or select, so nothing can come between them and the flags. Its operands are the
// first of the instruction's.
#include <algorithm>
#include <bit>

#include "vm/jit/backend/select_x86_64.hpp"

namespace skep::vm::backend {

using ir::Condition;
using ir::Op;

namespace {

bool is_test(Condition c) { return c == Condition::set || c == Condition::clear; }
bool is_equality(Condition c) { return c == Condition::eq || c == Condition::ne; }
bool is_signed(Condition c) { return c >= Condition::slt && c <= Condition::sge; }
/// For numbers that are not negative.
Condition unsigned_form(Condition c) {
  return is_signed(c) ? static_cast<Condition>(static_cast<u8>(c) - static_cast<u8>(Condition::slt) +
                                               static_cast<u8>(Condition::ult))
                      : c;
}

}  // namespace

/// Completes the instruction at hand, which is a branch, select or set.
void SelectX86::compare(const ir::Inst& inst) {
  Value a = operand(inst, 0), b = operand(inst, 1);
  Condition c = inst.condition;
  if (is_constant(a) && !is_constant(b)) {
    std::swap(a, b);
    c = ir::mirrored(c);
  }
  if (!is_constant(b)) return compare_values(c, inst.width, a, b);
  const s64 value = inst.width == 32 ? static_cast<s32>(imm(b)) : imm(b);
  if (is_test(c)) return test_with(c, inst.width, a, value);
  compare_with(c, inst.width, a, value);
}

void SelectX86::compare_values(Condition c, u8 width, Value a, Value b) {
  last().width = width;
  last().condition = c;
  const auto fits = [&](Value v) { return can_take_load(v) && f_.insns[v].bits == width; };
  if (is_test(c)) {
    last().compare = static_cast<u8>(Compare::test_rr);
    last().a = use_value(a);
    last().b = use_value(b);
    return;
  }
  if (!fits(b) && fits(a) && a != b) {
    std::swap(a, b);
    last().condition = ir::mirrored(c);
  }
  last().a = use_value(a);
  if (fits(b) && a != b) {
    last().compare = static_cast<u8>(Compare::rm);
    return address_of_load(b, Use::early);
  }
  last().compare = static_cast<u8>(Compare::rr);
  last().b = use_value(b, Use::any);
}

/// May the comparison of an extended load with a constant look at the memory alone?
bool SelectX86::memory_holds(Condition& c, u8 width, Value load, s64& value) const {
  if (!can_take_load(load)) return false;
  const ir::Inst& inst = f_.insns[load];
  if (inst.bits == width) return x86::fits_s32(value);
  if (inst.bits > width) return false;
  const u64 mask = (u64{1} << inst.bits) - 1;
  if (inst.has(ir::Inst::sign)) {
    const s64 narrow = static_cast<s64>(static_cast<u64>(value) << (64 - inst.bits)) >> (64 - inst.bits);
    return narrow == value && (is_signed(c) || is_equality(c));
  }
  if (static_cast<u64>(value) > mask) return false;
  c = unsigned_form(c);
  value = static_cast<s64>(static_cast<u64>(value) << (64 - inst.bits)) >> (64 - inst.bits);
  return true;
}

void SelectX86::compare_memory(Condition c, Value load, s64 value) {
  last().compare = static_cast<u8>(Compare::mi);
  last().condition = c;
  last().imm = value;
  address_of_load(load, Use::early);
}

void SelectX86::compare_with(Condition c, u8 width, Value a, s64 value) {
  const ir::Inst& made = f_.insns[a];
  // (x & mask) == 0 is a test of x.
  if (value == 0 && is_equality(c) && made.op == Op::and_ && only_here(a) && made.block == f_.insns[at_].block &&
      is_constant(operand(made, 1))) {
    const s64 mask = imm(operand(made, 1));
    const u8 seen = std::min(width, made.width);
    take(a);
    return test_with(c == Condition::eq ? Condition::clear : Condition::set, seen, operand(made, 0),
                     seen == 32 ? static_cast<s32>(mask) : mask);
  }
  if (memory_holds(c, width, a, value)) return compare_memory(c, a, value);
  if (width == 64 && !x86::fits_s32(value) && static_cast<u64>(value) <= 0xffffffffu && facts_.upper_zero(a)) {
    c = unsigned_form(c);
    width = 32;
    value = static_cast<s32>(value);
  }
  if (width == 32) a = low_bits(a, 32);
  last().width = width;
  last().condition = c;
  last().imm = value;
  last().a = use_value(a);
  if (!x86::fits_s32(value)) {
    last().b = use(constant(value));
    last().compare = static_cast<u8>(Compare::rr);
    return;
  }
  const bool by_zero = value == 0 && c != Condition::ult && c != Condition::uge;
  if (by_zero && c == Condition::ule) last().condition = Condition::eq;
  if (by_zero && c == Condition::ugt) last().condition = Condition::ne;
  last().compare = static_cast<u8>(by_zero ? Compare::zero : Compare::ri);
}

void SelectX86::test_with(Condition c, u8 width, Value a, s64 mask) {
  const u64 bits = width == 32 ? static_cast<u32>(mask) : static_cast<u64>(mask);
  last().condition = c;
  last().width = bits <= 0xffffffffu ? 32 : 64;
  const ir::Inst& made = f_.insns[a];
  if (can_take_load(a) && made.bits <= 32 && !made.has(ir::Inst::sign)) {
    const u64 within = bits & ((u64{1} << made.bits) - 1);
    last().compare = static_cast<u8>(Compare::test_mi);
    last().imm = static_cast<s64>(within << (64 - made.bits)) >> (64 - made.bits);
    return address_of_load(a, Use::early);
  }
  if (bits <= 0xffffffffu) {
    last().compare = static_cast<u8>(Compare::test_ri);
    last().imm = static_cast<s32>(bits);
  } else if (x86::fits_s32(mask)) {
    last().compare = static_cast<u8>(Compare::test_ri);
    last().imm = mask;
  } else if (std::has_single_bit(bits)) {
    last().compare = static_cast<u8>(Compare::bit);
    last().imm = std::countr_zero(bits);
  } else {
    last().compare = static_cast<u8>(Compare::test_rr);
    last().a = use_value(a);
    last().b = use(constant(mask));
    return;
  }
  last().a = use_value(bits <= 0xffffffffu ? low_bits(a, 32) : a);
}

/// Of 0 and 1, the flag itself; else a conditional move.
void SelectX86::select(Value v, const ir::Inst& inst) {
  const Value x = operand(inst, 2), y = operand(inst, 3);
  if (is_constant(x) && is_constant(y) && (imm(x) | imm(y)) == 1 && (imm(x) & imm(y)) == 0) {
    begin(X::set);
    compare(inst);
    if (imm(x) == 0) last().condition = ir::inverse(last().condition);
    define(register_of(v));
    return;
  }
  begin(X::select);
  compare(inst);
  last().x = last().tied_too = use_value(x, Use::any);
  last().y = last().tied = use_value(y, Use::any);
  define(register_of(v));
}

}  // namespace skep::vm::backend
