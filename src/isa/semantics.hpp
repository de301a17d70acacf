// What arithmetic, comparisons and byte swaps mean: once, as constexpr functions.
//
// The interpreter calls them, the verifier folds constants with them, the tests check them against RFC 9669's
// examples. Everything is computed in unsigned integers, where overflow wraps; the cases C++ leaves undefined
// have the RFC's answers: division by zero gives 0, remainder by zero leaves the dividend, INT_MIN / -1 is
// INT_MIN with remainder 0, shifts use the low 5 or 6 bits of their count.
// Always inlined: the interpreter passes a constant Op, and only then does the switch over it vanish.
// Source: RFC 9669, sections 4.1 (arithmetic), 4.2 (byte swaps), 4.3 (jumps).
#pragma once
#include <type_traits>

#include "isa/isa.hpp"

namespace skep::isa {

/// Arithmetic without its width and operands.
enum class Alu : u8 { add, sub, mul, div, sdiv, or_, and_, lsh, rsh, mod, smod, xor_, mov, arsh, neg };
/// Quotients and remainders: they have rules for a divisor of 0, and signed ones for the smallest number by -1.
constexpr bool is_division(Alu op) { return op == Alu::div || op == Alu::mod || op == Alu::sdiv || op == Alu::smod; }
/// Comparisons of jumps.
enum class Compare : u8 { eq, gt, ge, set, ne, sgt, sge, lt, le, slt, sle };

/// The arithmetic of an alu_imm, alu_reg or alu_unary row.
[[gnu::always_inline]] constexpr Alu alu_of(Op op) {
  const Row& r = row(op);
  switch (r.code & 0xf0) {
    case 0x00:
      return Alu::add;
    case 0x10:
      return Alu::sub;
    case 0x20:
      return Alu::mul;
    case 0x30:
      return r.off == 1 ? Alu::sdiv : Alu::div;
    case 0x40:
      return Alu::or_;
    case 0x50:
      return Alu::and_;
    case 0x60:
      return Alu::lsh;
    case 0x70:
      return Alu::rsh;
    case 0x80:
      return Alu::neg;
    case 0x90:
      return r.off == 1 ? Alu::smod : Alu::mod;
    case 0xa0:
      return Alu::xor_;
    case 0xc0:
      return Alu::arsh;
    default:
      return Alu::mov;
  }
}

/// The comparison of a jump_imm or jump_reg row.
[[gnu::always_inline]] constexpr Compare compare_of(Op op) {
  switch (row(op).code & 0xf0) {
    case 0x10:
      return Compare::eq;
    case 0x20:
      return Compare::gt;
    case 0x30:
      return Compare::ge;
    case 0x40:
      return Compare::set;
    case 0x50:
      return Compare::ne;
    case 0x60:
      return Compare::sgt;
    case 0x70:
      return Compare::sge;
    case 0xa0:
      return Compare::lt;
    case 0xb0:
      return Compare::le;
    case 0xc0:
      return Compare::slt;
    default:
      return Compare::sle;
  }
}

/// Whether an arithmetic or jump row works on 64 bits (else on the low 32).
[[gnu::always_inline]] constexpr bool is_wide(Op op) {
  const u8 c = row(op).code & 7;
  return c == class_alu64 || c == class_jmp;
}

/// `a op b` at the width of U (u32 or u64).
template <class U>
[[gnu::always_inline]] constexpr U calculate(Alu alu, U a, U b) {
  static_assert(std::is_same_v<U, u32> || std::is_same_v<U, u64>);
  using S = std::make_signed_t<U>;
  constexpr U shift_mask = sizeof(U) * 8 - 1;
  switch (alu) {
    case Alu::add:
      return a + b;
    case Alu::sub:
      return a - b;
    case Alu::mul:
      return a * b;
    case Alu::div:
      return b == 0 ? 0 : a / b;
    case Alu::sdiv:
      if (b == 0) return 0;
      return b == static_cast<U>(-1) ? U{0} - a : static_cast<U>(static_cast<S>(a) / static_cast<S>(b));
    case Alu::or_:
      return a | b;
    case Alu::and_:
      return a & b;
    case Alu::lsh:
      return a << (b & shift_mask);
    case Alu::rsh:
      return a >> (b & shift_mask);
    case Alu::mod:
      return b == 0 ? a : a % b;
    case Alu::smod:
      if (b == 0) return a;
      return b == static_cast<U>(-1) ? 0 : static_cast<U>(static_cast<S>(a) % static_cast<S>(b));
    case Alu::xor_:
      return a ^ b;
    case Alu::mov:
      return b;
    case Alu::arsh:
      return static_cast<U>(static_cast<S>(a) >> (b & shift_mask));
    case Alu::neg:
      return U{0} - a;
  }
  return 0;
}

/// `a op b` at the width of U.
template <class U>
[[gnu::always_inline]] constexpr bool holds(Compare compare, U a, U b) {
  using S = std::make_signed_t<U>;
  const S sa = static_cast<S>(a), sb = static_cast<S>(b);
  switch (compare) {
    case Compare::eq:
      return a == b;
    case Compare::gt:
      return a > b;
    case Compare::ge:
      return a >= b;
    case Compare::set:
      return (a & b) != 0;
    case Compare::ne:
      return a != b;
    case Compare::sgt:
      return sa > sb;
    case Compare::sge:
      return sa >= sb;
    case Compare::lt:
      return a < b;
    case Compare::le:
      return a <= b;
    case Compare::slt:
      return sa < sb;
    case Compare::sle:
      return sa <= sb;
  }
  return false;
}

/// The register an arithmetic row leaves: `a` is dst, `b` the other operand (imm sign-extended to 64 bits).
/// 32-bit rows use the low halves and clear the upper one.
[[gnu::always_inline]] constexpr u64 arithmetic(Op op, u64 a, u64 b) {
  if (is_wide(op)) return calculate<u64>(alu_of(op), a, b);
  return calculate<u32>(alu_of(op), static_cast<u32>(a), static_cast<u32>(b));
}

/// Whether a conditional jump row is taken.
[[gnu::always_inline]] constexpr bool taken(Op op, u64 a, u64 b) {
  if (is_wide(op)) return holds<u64>(compare_of(op), a, b);
  return holds<u32>(compare_of(op), static_cast<u32>(a), static_cast<u32>(b));
}

/// Sign extension by a movsx row.
[[gnu::always_inline]] constexpr u64 sign_extended(Op op, u64 value) {
  const s32 bits = row(op).off;
  const s64 wide = bits == 8    ? static_cast<s8>(value)
                   : bits == 16 ? static_cast<s16>(value)
                                : static_cast<s64>(static_cast<s32>(value));
  return is_wide(op) ? static_cast<u64>(wide) : static_cast<u32>(wide);
}

/// Byte order by an endian row, on a little-endian machine: le truncates, be and bswap reverse.
[[gnu::always_inline]] constexpr u64 reordered(Op op, u64 value) {
  const s32 bits = row(op).imm;
  if (row(op).code == 0xd4) return bits == 16 ? static_cast<u16>(value) : bits == 32 ? static_cast<u32>(value) : value;
  if (bits == 16) return __builtin_bswap16(static_cast<u16>(value));
  if (bits == 32) return __builtin_bswap32(static_cast<u32>(value));
  return __builtin_bswap64(value);
}

/// What a load row puts into its register, from the bytes read (zero-extended in `raw`).
[[gnu::always_inline]] constexpr u64 loaded(Op op, u64 raw) {
  switch (row(op).code) {
    case 0x91:
      return static_cast<u64>(static_cast<s64>(static_cast<s8>(raw)));
    case 0x89:
      return static_cast<u64>(static_cast<s64>(static_cast<s16>(raw)));
    case 0x81:
      return static_cast<u64>(static_cast<s64>(static_cast<s32>(raw)));
    default:
      return raw;
  }
}

/// The value an atomic row stores, from the old one: add, or, and, xor, xchg (cmpxchg is its own form).
[[gnu::always_inline]] constexpr u64 atomic_result(Op op, u64 old, u64 operand) {
  switch (row(op).imm & 0xf0) {
    case 0x00:
      return old + operand;
    case 0x40:
      return old | operand;
    case 0x50:
      return old & operand;
    case 0xa0:
      return old ^ operand;
    default:
      return operand;
  }
}

}  // namespace skep::isa
