// What the machine computes and compares at 8 bits: RFC 9669's rules, which isa::semantics has at 32 and 64 only.
#pragma once
#include "isa/semantics.hpp"

namespace skep::verify {

inline u8 machine8(isa::Alu op, u8 a, u8 b) {
  using isa::Alu;
  const int x = static_cast<s8>(a), y = static_cast<s8>(b);
  switch (op) {
    case Alu::div:
      return b == 0 ? u8{0} : static_cast<u8>(a / b);
    case Alu::mod:
      return b == 0 ? a : static_cast<u8>(a % b);
    case Alu::sdiv:
      return b == 0 ? u8{0} : static_cast<u8>(x / y);
    case Alu::smod:
      return b == 0 ? a : static_cast<u8>(x % y);
    case Alu::lsh:
      return static_cast<u8>(a << (b & 7));
    case Alu::rsh:
      return static_cast<u8>(a >> (b & 7));
    case Alu::arsh:
      return static_cast<u8>(x >> (b & 7));
    default:
      return static_cast<u8>(isa::calculate<u64>(op, a, b));
  }
}

inline bool holds8(isa::Compare c, u8 a, u8 b) {
  using isa::Compare;
  const bool is_signed = c == Compare::sgt || c == Compare::sge || c == Compare::slt || c == Compare::sle;
  const auto wide = [is_signed](u8 n) { return is_signed ? static_cast<u64>(s64{static_cast<s8>(n)}) : u64{n}; };
  return isa::holds<u64>(c, wide(a), wide(b));
}

inline constexpr isa::Alu operators[] = {isa::Alu::add,  isa::Alu::sub,  isa::Alu::mul,  isa::Alu::div, isa::Alu::sdiv,
                                         isa::Alu::or_,  isa::Alu::and_, isa::Alu::lsh,  isa::Alu::rsh, isa::Alu::mod,
                                         isa::Alu::smod, isa::Alu::xor_, isa::Alu::arsh, isa::Alu::neg};
inline constexpr isa::Compare comparisons[] = {
    isa::Compare::eq,  isa::Compare::gt, isa::Compare::ge, isa::Compare::set, isa::Compare::ne, isa::Compare::sgt,
    isa::Compare::sge, isa::Compare::lt, isa::Compare::le, isa::Compare::slt, isa::Compare::sle};
std::string_view name_of(isa::Alu op);
std::string_view name_of(isa::Compare comparison);

}  // namespace skep::verify
