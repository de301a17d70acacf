// The rules of maker.hpp: arithmetic.
#include "vm/jit/maker.hpp"

#include <algorithm>
#include <bit>

#include "vm/jit/meaning.hpp"

namespace skep::vm::ir {
namespace {

bool is_commutative(Op op) {
  return op == Op::add || op == Op::mul || op == Op::and_ || op == Op::or_ || op == Op::xor_;
}

/// A constant as an operation of this width sees it.
u64 seen(u8 width, u64 number) { return width == 32 ? sign_extended(number, 32) : number; }

}  // namespace

Value Maker::place(Inst inst, std::span<const Value> operands) {
  inst.block = block_;
  const bool is_steady = inst.op == Op::load && inst.has(Inst::steady);
  const bool is_numbered = dominators_ != nullptr && (row(inst.op).effect == Effect::pure || is_steady);
  std::size_t at = 0;
  if (is_numbered) {
    if (const Value old = find(inst, operands, at); old != no_value) return old;
  }
  const Value v = f_.add(inst, operands);
  f_.blocks[block_].insns.push_back(v);
  if (is_numbered) numbers_[at] = v;
  return v;
}

void Maker::number(const Dominators& dominators) {
  dominators_ = &dominators;
  std::size_t size = 64;
  while (size < f_.insns.capacity() * 2) size *= 2;
  numbers_.assign(size, no_value);
}

/// An instruction that computes the same and stands where it can be used; or no_value and in `at` the place for a new
/// one.
Value Maker::find(const Inst& inst, std::span<const Value> operands, std::size_t& at) const {
  u64 hash =
      static_cast<u64>(inst.op) << 24 | u64{inst.width} << 16 | u64{inst.bits} << 8 | static_cast<u64>(inst.condition);
  hash ^= static_cast<u64>(inst.imm) * 0xd6e8feb86659fd93;
  for (const Value v : operands) hash = (hash ^ v) * 0x9e3779b97f4a7c15;
  const std::size_t mask = numbers_.size() - 1;
  std::size_t i = (hash >> 32) & mask;
  for (u32 probes = 0; probes < 8; probes++, i = (i + 1) & mask) {
    const Value v = numbers_[i];
    if (v == no_value) break;
    const Inst& old = f_.insns[v];
    const bool is_same = old.op == inst.op && old.width == inst.width && old.bits == inst.bits &&
                         old.condition == inst.condition && old.imm == inst.imm &&
                         std::ranges::equal(f_.operands_of(old), operands);
    if (!is_same) continue;
    if (dominators_->dominates(old.block, block_)) return v;
    break;  // on another path: the new one takes its place
  }
  at = i;
  return no_value;
}

Value Maker::place2(Op op, u8 width, Value a, Value b) {
  const Value operands[] = {a, b};
  return place({.op = op, .width = width}, operands);
}

Value Maker::leaf(Op op, s64 imm) {
  if (placed_leaves_.size() * 2 >= leaves_.size()) grow_leaves();
  const std::size_t mask = leaves_.size() - 1;
  u64 hash = (static_cast<u64>(imm) + static_cast<u64>(op)) * 0x9e3779b97f4a7c15;
  for (std::size_t i = (hash >> 40) & mask;; i = (i + 1) & mask) {
    if (leaves_[i] == no_value) {
      leaves_[i] = f_.add({.op = op, .block = 0, .imm = imm}, {});
      placed_leaves_.push_back(leaves_[i]);
      return leaves_[i];
    }
    const Inst& inst = f_.insns[leaves_[i]];
    if (inst.op == op && inst.imm == imm) return leaves_[i];
  }
}

void Maker::grow_leaves() {
  std::vector<Value> bigger(leaves_.size() * 2, no_value);
  for (const Value v : placed_leaves_) {
    const Inst& inst = f_.insns[v];
    u64 hash = (static_cast<u64>(inst.imm) + static_cast<u64>(inst.op)) * 0x9e3779b97f4a7c15;
    std::size_t i = (hash >> 40) & (bigger.size() - 1);
    while (bigger[i] != no_value) i = (i + 1) & (bigger.size() - 1);
    bigger[i] = v;
  }
  leaves_ = std::move(bigger);
}

void Maker::place_leaves() {
  auto& entry = f_.blocks[0].insns;
  entry.insert(entry.begin(), placed_leaves_.begin(), placed_leaves_.end());
}

u32 Maker::significant_bits(Value v, u32 depth) const {
  const Inst& inst = f_.insns[v];
  const u32 limit = inst.width == 32 && inst.op >= Op::add && inst.op <= Op::neg ? 32 : 64;
  if (inst.op == Op::constant) return static_cast<u32>(std::bit_width(static_cast<u64>(inst.imm)));
  if (inst.op == Op::phi) return inst.bits;
  if (depth == 3) return limit;
  const auto bits_of = [&](u32 index) { return std::min(limit, significant_bits(operand(v, index), depth + 1)); };
  const auto count = [&]() -> u32 {
    const Value c = operand(v, 1);
    return f_.is_constant(c) ? static_cast<u32>(number(c)) & (inst.width - 1u) : 64;
  };
  switch (inst.op) {
    case Op::load:
      return inst.has(Inst::sign) ? 64 : inst.bits;
    case Op::load_swapped:
    case Op::load_acquire:
    case Op::atomic:
    case Op::exchange:
    case Op::compare_exchange:
    case Op::bswap:
      return inst.bits;
    case Op::popcount:
    case Op::leading_zeros:
      return 7;
    case Op::zext:
      return std::min<u32>(inst.bits, bits_of(0));
    case Op::sext:
      return bits_of(0) < inst.bits ? bits_of(0) : inst.width;
    case Op::and_:
      return std::min(bits_of(0), bits_of(1));
    case Op::or_:
    case Op::xor_:
      return std::max(bits_of(0), bits_of(1));
    case Op::add:
      return std::min(limit, std::max(bits_of(0), bits_of(1)) + 1);
    case Op::mul:
      return std::min(limit, bits_of(0) + bits_of(1));
    case Op::udiv:
      return bits_of(0);
    case Op::umod:
      return f_.is_constant(operand(v, 1)) && number(operand(v, 1)) != 0 ? std::min(bits_of(0), bits_of(1))
                                                                         : bits_of(0);
    case Op::shr:
      return count() >= 64 ? bits_of(0) : bits_of(0) - std::min(bits_of(0), count());
    case Op::sar:
      return bits_of(0) < limit ? bits_of(0) : limit;
    case Op::shl:
      return count() >= 64 ? limit : std::min(limit, bits_of(0) + count());
    case Op::select:
      return std::max(significant_bits(operand(v, 2), depth + 1), significant_bits(operand(v, 3), depth + 1));
    default:
      return limit;
  }
}

bool Maker::is_nonzero(Value v) const {
  const Inst& inst = f_.insns[v];
  if (inst.op == Op::constant) return inst.imm != 0;
  return inst.op == Op::frame || (inst.op == Op::add && inst.has(Inst::nonzero));
}

Value Maker::low_part(Value v, u32 bits) const {
  for (;;) {
    const Inst& inst = f_.insns[v];
    const bool extends = (inst.op == Op::zext || inst.op == Op::sext) && inst.bits >= bits;
    const bool masks = inst.op == Op::and_ && f_.is_constant(operand(v, 1)) &&
                       low_bits(~number(operand(v, 1)), bits) == 0 && (inst.width == 64 || bits <= 32);
    // A part of a word that was replaced: what is kept of the old word lies above.
    const bool combines = inst.op == Op::or_ || inst.op == Op::xor_ || inst.op == Op::add;
    if (combines && (inst.width == 64 || bits <= 32))
      if (const u32 empty = is_empty_below(operand(v, 0), bits) ? 0 : 1;
          empty == 0 || is_empty_below(operand(v, 1), bits)) {
        v = operand(v, 1 - empty);
        continue;
      }
    if (!extends && !masks) return v;
    v = operand(v, 0);
  }
}

/// The low `bits` are zero.
bool Maker::is_empty_below(Value v, u32 bits) const {
  const Inst& inst = f_.insns[v];
  if (inst.op == Op::constant) return low_bits(number(v), bits) == 0;
  if ((inst.op != Op::and_ && inst.op != Op::shl) || (inst.width == 32 && bits > 32)) return false;
  const Value by = operand(v, 1);
  if (!f_.is_constant(by)) return false;
  return inst.op == Op::and_ ? low_bits(number(by), bits) == 0 : (number(by) & (inst.width - 1u)) >= bits;
}

Value Maker::fold_constants(Op op, u8 width, Value a, Value b) {
  if (!f_.is_constant(a) || !f_.is_constant(b)) return no_value;
  const u64 operands[4] = {number(a), number(b)};
  return constant(meaning({.op = op, .width = width}, operands));
}

Value Maker::arithmetic(Op op, u8 width, Value a, Value b) {
  if (width == 32) {
    const bool is_shift = op == Op::shl || op == Op::shr || op == Op::sar || op == Op::rol;
    a = low_part(a, 32);
    b = low_part(b, is_shift ? 8 : 32);
  }
  if (const Value folded = fold_constants(op, width, a, b); folded != no_value) return folded;
  if (is_commutative(op) && f_.is_constant(a)) std::swap(a, b);
  if (width == 32 && f_.is_constant(b)) b = constant(seen(32, number(b)));
  switch (op) {
    case Op::add:
      return add(width, a, b);
    case Op::sub:
      return sub(width, a, b);
    case Op::mul:
      return mul(width, a, b);
    case Op::udiv:
    case Op::umod:
    case Op::sdiv:
    case Op::smod:
      return divide(op, width, a, b);
    case Op::and_:
      return bitwise_and(width, a, b);
    case Op::or_:
    case Op::xor_:
      return bitwise_or(op, width, a, b);
    case Op::neg:
      return neg(width, a);
    default:
      return shift(op, width, a, b);
  }
}

Value Maker::neg(u8 width, Value a) {
  if (width == 32) a = low_part(a, 32);
  if (f_.is_constant(a)) return constant(low_bits(u64{0} - number(a), width));
  if (is_op(a, Op::neg, width)) return whole(width, operand(a, 0));
  if (is_op(a, Op::sub, width)) return sub(width, operand(a, 1), operand(a, 0));
  const Value operands[] = {a};
  return place({.op = Op::neg, .width = width}, operands);
}

Value Maker::add(u8 width, Value a, Value b) {
  if (f_.is_constant(b, 0)) return whole(width, a);
  if (f_.is_constant(b)) {
    if (f_.insns[a].op == Op::frame && width == 64) return frame(f_.insns[a].imm + f_.insns[b].imm);
    const bool same = f_.insns[a].op == Op::add && (f_.insns[a].width == width || width == 32);
    if (same && f_.is_constant(operand(a, 1)))
      return arithmetic(Op::add, width, operand(a, 0), constant(number(operand(a, 1)) + number(b)));
  }
  if (is_op(b, Op::neg, width)) return sub(width, a, operand(b, 0));
  if (is_op(a, Op::neg, width)) return sub(width, b, operand(a, 0));
  if (const Value r = rotation(Op::add, width, a, b); r != no_value) return r;
  // (x + c) + y: the constant goes outside, where an address can take it.
  if (is_op(a, Op::add, width) && f_.is_constant(operand(a, 1)) && !f_.is_constant(b))
    return add(width, add(width, operand(a, 0), b), operand(a, 1));
  if (is_op(b, Op::add, width) && f_.is_constant(operand(b, 1)))
    return add(width, add(width, a, operand(b, 0)), operand(b, 1));
  return place2(Op::add, width, a, b);
}

Value Maker::sub(u8 width, Value a, Value b) {
  if (f_.is_constant(b)) return arithmetic(Op::add, width, a, constant(seen(width, u64{0} - number(b))));
  if (a == b) return constant(0);
  if (f_.is_constant(a, 0)) return neg(width, b);
  if (is_op(b, Op::neg, width)) return add(width, a, operand(b, 0));
  return place2(Op::sub, width, a, b);
}

Value Maker::mul(u8 width, Value a, Value b) {
  if (f_.is_constant(b)) {
    const u64 n = low_bits(number(b), width);
    if (n == 0) return constant(0);
    if (n == 1) return whole(width, a);
    if (n == low_bits(~u64{0}, width)) return neg(width, a);
    if (std::has_single_bit(n)) return shift(Op::shl, width, a, constant(static_cast<u64>(std::countr_zero(n))));
    if (is_op(a, Op::mul, width) && f_.is_constant(operand(a, 1)))
      return arithmetic(Op::mul, width, operand(a, 0), constant(number(operand(a, 1)) * n));
  }
  return place2(Op::mul, width, a, b);
}

Value Maker::divide(Op op, u8 width, Value a, Value b) {
  const bool is_remainder = op == Op::umod || op == Op::smod;
  if (f_.is_constant(b)) {
    const u64 n = low_bits(number(b), width);
    if (n == 0) return is_remainder ? whole(width, a) : constant(0);
    if (n == 1) return is_remainder ? constant(0) : whole(width, a);
    if (op == Op::udiv && std::has_single_bit(n))
      return shift(Op::shr, width, a, constant(static_cast<u64>(std::countr_zero(n))));
    if (op == Op::umod && std::has_single_bit(n)) return arithmetic(Op::and_, width, a, constant(n - 1));
  }
  // Half the bits are enough where both numbers fit (native 32-bit division is faster).
  const bool is_signed = op == Op::sdiv || op == Op::smod;
  const u32 room = is_signed ? 31 : 32;
  if (width == 64 && significant_bits(a) <= room && significant_bits(b) <= room) {
    width = 32;
    if (f_.is_constant(b)) b = constant(seen(32, number(b)));
  }
  const Value operands[] = {a, b};
  const bool is_minus_one = f_.is_constant(b) && low_bits(number(b), width) == low_bits(~u64{0}, width);
  const bool nonzero = f_.is_constant(b) && !(is_signed && is_minus_one);
  return place({.op = op, .width = width, .flags = static_cast<u8>(nonzero ? Inst::nonzero : 0)}, operands);
}

Value Maker::bitwise_and(u8 width, Value a, Value b) {
  if (a == b) return whole(width, a);
  if (!f_.is_constant(b)) return place2(Op::and_, width, a, b);
  const u64 mask = low_bits(number(b), width);
  if (mask == 0) return constant(0);
  if (mask == 0xff) return zext(8, a);
  if (mask == 0xffff) return zext(16, a);
  if (mask == 0xffffffff) return zext(32, a);
  if (mask == ~u64{0}) return a;
  if (f_.insns[a].op == Op::and_ && f_.is_constant(operand(a, 1)) && f_.insns[a].width >= width)
    return bitwise_and(width, operand(a, 0), constant(seen(width, number(operand(a, 1)) & mask)));
  const u32 bits = significant_bits(a);
  if (low_bits(~mask, bits) == 0) return whole(width, a);
  if (low_bits(mask, bits) == 0) return constant(0);
  if (f_.insns[a].op == Op::zext && std::bit_width(mask) <= f_.insns[a].bits)
    return bitwise_and(width, operand(a, 0), b);
  // A mask below 2^32 makes the upper half zero by itself.
  if (width == 64 && mask <= 0x7fffffff) {
    width = 32;
    a = low_part(a, 32);
  }
  return place2(Op::and_, width, a, constant(seen(width, mask)));
}

Value Maker::bitwise_or(Op op, u8 width, Value a, Value b) {
  if (a == b) return op == Op::or_ ? whole(width, a) : constant(0);
  if (f_.is_constant(b, 0)) return whole(width, a);
  if (op == Op::or_ && f_.is_constant(b) && low_bits(~number(b), width) == 0) return constant(low_bits(~u64{0}, width));
  if (f_.is_constant(b) && is_op(a, op, width) && f_.is_constant(operand(a, 1)))
    return arithmetic(op, width, operand(a, 0),
                      constant(op == Op::or_ ? number(operand(a, 1)) | number(b) : number(operand(a, 1)) ^ number(b)));
  if (const Value r = rotation(op, width, a, b); r != no_value) return r;
  return place2(op, width, a, b);
}

/// x << n combined with x >> width - n: a rotate, whether combined by or, xor or +.
Value Maker::rotation(Op, u8 width, Value a, Value b) {
  for (int side = 0; side < 2; side++, std::swap(a, b)) {
    if (!is_op(a, Op::shl, width) || !is_op(b, Op::shr, width) || operand(a, 0) != operand(b, 0)) continue;
    const Value up = operand(a, 1), down = operand(b, 1);
    if (f_.is_constant(up) && f_.is_constant(down)) {
      if (number(up) + number(down) == width && number(up) != 0) return place2(Op::rol, width, operand(a, 0), up);
      continue;
    }
    // n and -n or width - n (counts are taken modulo the width). With n = 0 both shifts give x: x|x is x, but x+x and
    // x^x are not a rotate, so only constants go that way.
    return no_value;
  }
  return no_value;
}

Value Maker::shift(Op op, u8 width, Value a, Value b) {
  if (f_.is_constant(a, 0)) return a;
  if (!f_.is_constant(b)) {
    // The machine looks at the low bits of the count only: masks of them are nothing.
    while (f_.insns[b].op == Op::and_ && f_.is_constant(operand(b, 1)) && (~number(operand(b, 1)) & (width - 1u)) == 0)
      b = operand(b, 0);
    return place2(op, width, a, low_part(b, 8));
  }
  const u32 count = static_cast<u32>(number(b)) & (width - 1u);
  if (count == 0) return whole(width, a);
  if (op == Op::rol) return place2(op, width, a, constant(count));
  if (op != Op::shl && width == 64) {
    const u32 bits = significant_bits(a);
    if (op == Op::shr && count >= bits) return constant(0);
    if (op == Op::sar && bits < 64) op = Op::shr;
  }
  if (const Value v = shift_of_shift(op, width, a, count); v != no_value) return v;
  // Shifting down what fits in 32 bits needs no 64-bit operation.
  if (op == Op::shr && width == 64 && count < 32 && significant_bits(a) <= 32) width = 32;
  return place2(op, width, a, constant(count));
}

Value Maker::shift_of_shift(Op op, u8 width, Value a, u32 count) {
  const Inst& inner = f_.insns[a];
  const bool is_inner_shift = inner.op == Op::shl || inner.op == Op::shr || inner.op == Op::sar;
  if (!is_inner_shift || inner.width != width || !f_.is_constant(operand(a, 1))) return no_value;
  const u32 before = static_cast<u32>(number(operand(a, 1)));
  const Value x = operand(a, 0);
  if (inner.op == op) {
    if (before + count < width) return shift(op, width, x, constant(before + count));
    return op == Op::sar ? shift(op, width, x, constant(width - 1u)) : constant(0);
  }
  if (inner.op != Op::shl) return no_value;
  const u32 kept = width - before;  // low bits of x that survive the shift up
  const bool is_power = kept == 8 || kept == 16 || kept == 32;
  if (op == Op::sar && is_power && count >= before && width == 64) {
    const Value extended = sext(64, static_cast<u8>(kept), x);
    return count == before ? extended : shift(Op::sar, width, extended, constant(count - before));
  }
  if (op == Op::sar && is_power && count == before) return sext(width, static_cast<u8>(kept), x);
  if (op != Op::shr || !is_power) return no_value;
  const Value part = zext(static_cast<u8>(kept), x);
  if (count == before) return part;
  return count > before ? shift(Op::shr, width, part, constant(count - before))
                        : shift(Op::shl, width, part, constant(before - count));
}

}  // namespace skep::vm::ir
