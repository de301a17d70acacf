// What the pure operations of ir.def compute: for the evaluator and for constant folding, from isa/semantics.hpp.
#pragma once
#include <bit>

#include "isa/semantics.hpp"
#include "vm/jit/ir.hpp"

namespace skep::vm::ir {

constexpr u64 low_bits(u64 value, u32 bits) { return bits >= 64 ? value : value & ((u64{1} << bits) - 1); }

constexpr u64 sign_extended(u64 value, u32 bits) {
  const u32 shift = 64 - bits;
  return static_cast<u64>(static_cast<s64>(value << shift) >> shift);
}

constexpr u64 swapped(u64 value, u32 bits) { return __builtin_bswap64(value) >> (64 - bits); }

constexpr bool holds(Condition c, u32 width, u64 a, u64 b) {
  if (width == 32) {
    a = low_bits(a, 32);
    b = low_bits(b, 32);
  }
  const s64 sa = static_cast<s64>(width == 32 ? sign_extended(a, 32) : a);
  const s64 sb = static_cast<s64>(width == 32 ? sign_extended(b, 32) : b);
  switch (c) {
    case Condition::eq:
      return a == b;
    case Condition::ne:
      return a != b;
    case Condition::ult:
      return a < b;
    case Condition::ule:
      return a <= b;
    case Condition::ugt:
      return a > b;
    case Condition::uge:
      return a >= b;
    case Condition::slt:
      return sa < sb;
    case Condition::sle:
      return sa <= sb;
    case Condition::sgt:
      return sa > sb;
    case Condition::sge:
      return sa >= sb;
    case Condition::set:
      return (a & b) != 0;
    case Condition::clear:
      return (a & b) == 0;
  }
  return false;
}

/// The arithmetic of semantics.hpp that an operation is; for add to sar and neg.
constexpr isa::Alu alu_of(Op op) {
  switch (op) {
    case Op::add:
      return isa::Alu::add;
    case Op::sub:
      return isa::Alu::sub;
    case Op::mul:
      return isa::Alu::mul;
    case Op::udiv:
      return isa::Alu::div;
    case Op::sdiv:
      return isa::Alu::sdiv;
    case Op::umod:
      return isa::Alu::mod;
    case Op::smod:
      return isa::Alu::smod;
    case Op::and_:
      return isa::Alu::and_;
    case Op::or_:
      return isa::Alu::or_;
    case Op::xor_:
      return isa::Alu::xor_;
    case Op::shl:
      return isa::Alu::lsh;
    case Op::shr:
      return isa::Alu::rsh;
    case Op::sar:
      return isa::Alu::arsh;
    default:
      return isa::Alu::neg;
  }
}

/// The result of a pure operation that has operands (no leaf, no phi).
constexpr u64 meaning(const Inst& inst, const u64 (&o)[4]) {
  switch (inst.op) {
    case Op::constant:
    case Op::blinded:
      return static_cast<u64>(inst.imm);
    case Op::select:
      return holds(inst.condition, inst.width, o[0], o[1]) ? o[2] : o[3];
    case Op::sext:
      return low_bits(sign_extended(o[0], inst.bits), inst.width);
    case Op::zext:
      return low_bits(o[0], inst.bits);
    case Op::bswap:
      return swapped(o[0], inst.bits);
    case Op::mulh:
      return static_cast<u64>(static_cast<unsigned __int128>(o[0]) * o[1] >> 64);
    case Op::popcount:
      return static_cast<u64>(std::popcount(low_bits(o[0], inst.width)));
    case Op::leading_zeros:
      return static_cast<u64>(std::countl_zero(low_bits(o[0], inst.width))) - (64u - inst.width);
    case Op::rol: {
      const u32 count = static_cast<u32>(o[1]) & (inst.width - 1u);
      if (count == 0) return low_bits(o[0], inst.width);
      if (inst.width == 64) return o[0] << count | o[0] >> (64 - count);
      const u32 low = static_cast<u32>(o[0]);
      return static_cast<u32>(low << count | low >> (32 - count));
    }
    default:
      if (inst.width == 32) return isa::calculate<u32>(alu_of(inst.op), static_cast<u32>(o[0]), static_cast<u32>(o[1]));
      return isa::calculate<u64>(alu_of(inst.op), o[0], o[1]);
  }
}

}  // namespace skep::vm::ir
