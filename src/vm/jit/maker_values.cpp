// The rules of maker.hpp: extensions, comparisons, selects, memory, ends of blocks.
#include <algorithm>
#include <bit>

#include "vm/jit/maker.hpp"
#include "vm/jit/meaning.hpp"

namespace skep::vm::ir {

Value Maker::zext(u8 bits, Value a) {
  if (bits == 64) return a;
  a = low_part(a, bits);
  if (f_.is_constant(a)) return constant(low_bits(number(a), bits));
  if (significant_bits(a) <= bits) return a;
  const Inst inst = f_.insns[a];
  // Masking what is shifted at 64 bits, down from within 32: the operation itself at 32 bits does it.
  if (inst.op == Op::zext && inst.bits <= bits) return a;
  const Value operands[] = {a};
  return place({.op = Op::zext, .bits = bits}, operands);
}

Value Maker::sext(u8 width, u8 bits, Value a) {
  a = low_part(a, bits);
  if (f_.is_constant(a)) return constant(low_bits(sign_extended(number(a), bits), width));
  const u32 known = significant_bits(a);
  if (known < bits) return a;
  const Inst& inst = f_.insns[a];
  if (inst.op == Op::sext && inst.bits <= bits && (inst.width == 64 || width == 32))
    return width == 64 ? a : zext(32, a);
  const Value operands[] = {a};
  return place({.op = Op::sext, .width = width, .bits = bits}, operands);
}

Value Maker::bswap(u8 bits, Value a) {
  a = low_part(a, bits);
  if (f_.is_constant(a)) return constant(swapped(number(a), bits));
  if (f_.insns[a].op == Op::bswap && f_.insns[a].bits == bits) return zext(bits, operand(a, 0));
  const Value operands[] = {a};
  return place({.op = Op::bswap, .bits = bits}, operands);
}

Value Maker::blinded(u64 number) {
  if (number == 0) return constant(0);
  const auto half = [&](u64 bits) {
    return place({.op = Op::blinded, .imm = static_cast<s32>(static_cast<u32>(bits))}, {});
  };
  if (static_cast<s64>(number) == static_cast<s32>(number)) return half(number);
  const Value low = zext(32, half(number));
  return arithmetic(Op::or_, 64, arithmetic(Op::shl, 64, half(number >> 32), constant(32)), low);
}

Value Maker::mulh(Value a, Value b) {
  if (f_.is_constant(a)) std::swap(a, b);
  if (f_.is_constant(a)) {
    const u64 both[4] = {number(a), number(b)};
    return constant(meaning({.op = Op::mulh}, both));
  }
  const Value operands[] = {a, b};
  return place({.op = Op::mulh}, operands);
}

Value Maker::count(Op op, u8 width, Value a) {
  if (width == 32) a = low_part(a, 32);
  if (f_.is_constant(a)) {
    const u64 operands[4] = {number(a)};
    return constant(meaning({.op = op, .width = width}, operands));
  }
  const Value operands[] = {a};
  return place({.op = op, .width = width}, operands);
}

Value Maker::load(u8 bits, bool is_signed, Value base, s64 offset, u8 flags) {
  if (f_.insns[base].op == Op::add && f_.insns[base].width == 64 && f_.is_constant(operand(base, 1))) {
    const s64 sum = offset + f_.insns[operand(base, 1)].imm;
    if (sum == static_cast<s32>(sum)) return load(bits, is_signed, operand(base, 0), sum, flags);
  }
  if (f_.insns[base].op == Op::frame && offset != 0)
    return load(bits, is_signed, frame(f_.insns[base].imm + offset), 0, flags);
  const Value operands[] = {base};
  return place({.op = Op::load,
                .bits = bits,
                .flags = static_cast<u8>(flags | (is_signed && bits < 64 ? Inst::sign : 0)),
                .imm = offset},
               operands);
}

Value Maker::load_swapped(u8 bits, Value base, s64 offset, u8 flags) {
  const Value operands[] = {base};
  return place({.op = Op::load_swapped, .bits = bits, .flags = flags, .imm = offset}, operands);
}

void Maker::store(u8 bits, Value base, s64 offset, Value value, u8 flags) {
  value = low_part(value, bits);
  if (f_.is_constant(value)) value = constant(sign_extended(number(value), bits));
  if (f_.insns[base].op == Op::add && f_.insns[base].width == 64 && f_.is_constant(operand(base, 1))) {
    const s64 sum = offset + f_.insns[operand(base, 1)].imm;
    if (sum == static_cast<s32>(sum)) {
      offset = sum;
      base = operand(base, 0);
    }
  }
  if (f_.insns[base].op == Op::frame) {
    base = frame(f_.insns[base].imm + offset);
    offset = 0;
  }
  const Value operands[] = {base, value};
  place({.op = Op::store, .bits = bits, .flags = flags, .imm = offset}, operands);
}

void Maker::jump() { place({.op = Op::jump}, {}); }

void Maker::ret(Value v) {
  const Value operands[] = {v};
  place({.op = Op::ret}, operands);
}

u32 Maker::branch(Condition c, u8 width, Value a, Value b) {
  const Comparison made = comparison(c, width, a, b);
  if (made.known >= 0) {
    jump();
    return made.known != 0 ? 0 : 1;
  }
  const Value operands[] = {made.a, made.b};
  place({.op = Op::branch, .width = made.width, .condition = made.condition}, operands);
  return 2;
}

Value Maker::select(Condition c, u8 width, Value a, Value b, Value x, Value y) {
  if (x == y) return x;
  Comparison made = comparison(c, width, a, b);
  if (made.known >= 0) return made.known != 0 ? x : y;
  // x == c ? c : y is y where x is c.
  if (made.width == 64 && ((made.a == x && made.b == y) || (made.a == y && made.b == x))) {
    if (made.condition == Condition::eq) return y;
    if (made.condition == Condition::ne) return x;
  }
  const Value operands[] = {made.a, made.b, x, y};
  return place({.op = Op::select, .width = made.width, .condition = made.condition}, operands);
}

Maker::Comparison Maker::comparison(Condition c, u8 width, Value a, Value b) {
  const bool is_equality = c == Condition::eq || c == Condition::ne;
  const bool is_test = c == Condition::set || c == Condition::clear;
  if (width == 32) {
    a = low_part(a, 32);
    b = low_part(b, 32);
  }
  if (f_.is_constant(a)) {
    std::swap(a, b);
    c = mirrored(c);
  }
  if (f_.is_constant(a)) return {c, width, a, b, static_cast<s8>(holds(c, width, number(a), number(b)))};
  if (a == b && !is_test) return {c, width, a, b, static_cast<s8>(holds(c, width, 0, 0))};
  if (is_test && a == b) return comparison(c == Condition::set ? Condition::ne : Condition::eq, width, a, constant(0));
  const Value zero_of = f_.is_constant(b) && low_bits(number(b), width) == 0 ? a : no_value;
  // A comparison of a comparison's 0 or 1 is that comparison; of "x or null", whether it is x.
  if (zero_of != no_value && is_equality && f_.insns[a].op == Op::select) {
    const Inst& inner = f_.insns[a];
    const auto zero = [&](Value v) { return f_.is_constant(v) && low_bits(number(v), width) == 0; };
    const auto nonzero = [&](Value v) {
      return f_.is_constant(v) ? low_bits(number(v), width) != 0 : width == 64 && is_nonzero(v);
    };
    const bool first_nonzero = nonzero(operand(a, 2)), second_nonzero = nonzero(operand(a, 3));
    const bool first_zero = zero(operand(a, 2)), second_zero = zero(operand(a, 3));
    if ((first_nonzero && second_zero) || (first_zero && second_nonzero)) {
      const bool direct = first_nonzero == (c == Condition::ne);
      return comparison(direct ? inner.condition : inverse(inner.condition), inner.width, operand(a, 0), operand(a, 1));
    }
  }
  if (zero_of != no_value && is_equality) {
    const Inst& inner = f_.insns[a];
    const bool same = inner.width == width || (width == 32 && inner.width == 64);
    if (inner.op == Op::and_ && (inner.width == width || inner.width == 32))
      return comparison(c == Condition::eq ? Condition::clear : Condition::set, inner.width, operand(a, 0),
                        operand(a, 1));
    if ((inner.op == Op::sub || inner.op == Op::xor_) && same)
      return comparison(c, width, operand(a, 0), operand(a, 1));
    if (inner.op == Op::zext && inner.bits == 32) return comparison(c, 32, operand(a, 0), b);
  }
  if (f_.is_constant(b)) {
    const u64 n = low_bits(number(b), width);
    if (c == Condition::ult && n == 1) return comparison(Condition::eq, width, a, constant(0));
    if (c == Condition::uge && n == 1) return comparison(Condition::ne, width, a, constant(0));
    if (c == Condition::ugt && n == 0) return comparison(Condition::ne, width, a, b);
    if (c == Condition::ule && n == 0) return comparison(Condition::eq, width, a, b);
    if (c == Condition::ult && n == 0) return {c, width, a, b, 0};
    if (c == Condition::uge && n == 0) return {c, width, a, b, 1};
    // Not what counts a loop: it would be alive beside its next value.
    if (is_equality && is_op(a, Op::add, width) && f_.is_constant(operand(a, 1)) &&
        f_.insns[operand(a, 0)].op != Op::phi)
      return comparison(c, width, operand(a, 0), constant(n - number(operand(a, 1))));
    const u32 bits = std::min<u32>(significant_bits(a), width);
    const u64 most = low_bits(~u64{0}, bits);
    if (!is_test && bits < width) {  // not negative, at most `most`
      if (c == Condition::sgt && n <= most) c = Condition::ugt;
      if (c == Condition::sge && n <= most) c = Condition::uge;
      if (c == Condition::slt && n <= most) c = Condition::ult;
      if (c == Condition::sle && n <= most) c = Condition::ule;
      if (n > most) {
        if (c == Condition::eq || c == Condition::ugt || c == Condition::uge) return {c, width, a, b, 0};
        if (c == Condition::ne || c == Condition::ult || c == Condition::ule) return {c, width, a, b, 1};
      }
    }
    if (c == Condition::ugt && n == most && bits < width) return {c, width, a, b, 0};
    if (c == Condition::ule && n == most && bits < width) return {c, width, a, b, 1};
    if (is_test) {
      if ((n & most) == 0) return {c, width, a, b, static_cast<s8>(c == Condition::clear)};
    }
  }
  if (c == Condition::ugt || c == Condition::ule) {
    // One flag instead of two, and powers of two instead of what is one less.
    const bool has_next = f_.is_constant(b) && low_bits(~number(b), width) != 0;
    if (has_next) {
      b = constant(low_bits(number(b), width) + 1);
      c = c == Condition::ugt ? Condition::uge : Condition::ult;
    }
  }
  // What no immediate can hold: are there bits above?
  if (width == 64 && (c == Condition::uge || c == Condition::ult) && f_.is_constant(b) && number(b) > 0x7fffffff &&
      std::has_single_bit(number(b)) && significant_bits(a) > 32)
    return comparison(c == Condition::uge ? Condition::ne : Condition::eq, 64,
                      arithmetic(Op::shr, 64, a, constant(static_cast<u64>(std::countr_zero(number(b))))), constant(0));
  // Numbers without upper halves compare at 32 bits.
  const bool is_unsigned = c <= Condition::uge || is_test;
  if (width == 64 && is_unsigned) {
    const auto narrow = [&](Value v) { return significant_bits(v) <= 32; };
    const bool is_masked = is_test && f_.is_constant(b) && number(b) <= 0xffffffff;
    if ((narrow(a) && narrow(b)) || is_masked) {
      width = 32;
      a = low_part(a, 32);
      b = low_part(b, 32);
    }
  }
  if (width == 32 && f_.is_constant(b)) b = constant(sign_extended(number(b), 32));
  return {c, width, a, b};
}

Value Maker::remake(Inst inst, std::span<const Value> operands) {
  std::array<Value, 8> o{};  // a copy: making instructions moves the pool they may stand in
  std::ranges::copy(operands, o.begin());
  switch (inst.op) {
    case Op::constant:
    case Op::frame:
    case Op::run:
    case Op::parameter:
      return leaf(inst.op, inst.imm);
    case Op::neg:
      return neg(inst.width, o[0]);
    case Op::zext:
      return zext(inst.bits, o[0]);
    case Op::sext:
      return sext(inst.width, inst.bits, o[0]);
    case Op::bswap:
      return bswap(inst.bits, o[0]);
    case Op::mulh:
      return mulh(o[0], o[1]);
    case Op::popcount:
    case Op::leading_zeros:
      return count(inst.op, inst.width, o[0]);
    case Op::select:
      return select(inst.condition, inst.width, o[0], o[1], o[2], o[3]);
    case Op::load:
      return load(inst.bits, inst.has(Inst::sign), o[0], inst.imm, static_cast<u8>(inst.flags & ~Inst::sign));
    case Op::store:
      store(inst.bits, o[0], inst.imm, o[1], inst.flags);
      return no_value;
    case Op::udiv:
    case Op::sdiv:
    case Op::umod:
    case Op::smod: {
      // What was proved of this division was not proved of an equal one on the way to it.
      const std::size_t before = f_.insns.size();
      const Value v = arithmetic(inst.op, inst.width, o[0], o[1]);
      if (v >= before && f_.insns[v].op == inst.op) f_.insns[v].flags |= inst.flags & Inst::nonzero;
      return v;
    }
    default:
      if (inst.op >= Op::add && inst.op < Op::neg) {
        const Value v = arithmetic(inst.op, inst.width, o[0], o[1]);
        if (inst.has(Inst::nonzero) && f_.insns[v].op == Op::add) f_.insns[v].flags |= Inst::nonzero;
        return v;
      }
      return place(inst, {o.data(), operands.size()});
  }
}

}  // namespace skep::vm::ir
