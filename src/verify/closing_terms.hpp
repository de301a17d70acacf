// What a round of a loop makes of two numbers that close in on each other, in terms of what they were.
//
// With m = hi - lo at the head, everything of interest is lo + x(m) + c with x(m) one of 0, m, floor(m / 2) and
// ceil(m / 2), or such a difference alone. Numbers are integers, of which a register holds the low 32 bits or
// (is_whole) all 64. They stay small: what is compared or halved is within 32 bits with a sign.
#pragma once
#include "verify/register.hpp"
#include "verify/round.hpp"

namespace skep::verify {

inline constexpr s64 unknown_least = INT64_MIN;
inline constexpr s64 farthest = s64{1} << 16;  ///< constants
constexpr s64 halve(s64 v) { return v >> 1; }
constexpr s64 halve_up(s64 v) { return (v + 1) >> 1; }

/// A number in terms of those at the head.
struct Term {
  enum class What : u8 { nothing, number, lo, hi, middle, middle_up, sum, gap, half_gap, half_gap_up };
  What what = What::nothing;
  bool is_whole = false;    ///< all 64 bits of the register, as a number with a sign
  bool is_shifted = false;  ///< times 2^32
  s64 plus = 0;
  u32 name = 0, low_name = 0;  ///< of the value in all 64 bits, in the low 32: equal names are equal values; 0: none
  friend bool operator==(const Term&, const Term&) = default;
};
/// Where nothing is known of a register's number: what is left of the names of its value.
constexpr Term only_named(const Term& t, bool is_whole_value) {
  return {.name = is_whole_value ? t.name : 0, .low_name = t.low_name};
}

struct Span {
  s64 low = 0, high = 0;
};

struct TermArithmetic {
  using Value = Term;
  using What = Term::What;
  Span lo, hi;                ///< at the head
  s64 least = unknown_least;  ///< of hi - lo, as is known on this way

  Span span(const Term& t) const {
    s64 l0 = lo.low, l1 = lo.high, h0 = hi.low, h1 = hi.high, m0 = h0 - l1;
    if (least != unknown_least) {
      m0 = std::max(m0, least);
      h0 = std::max(h0, l0 + m0);
      l1 = std::min(l1, h1 - m0);
    }
    const s64 m1 = h1 - l0;
    const auto plus = [&t](s64 low, s64 high) { return Span{low + t.plus, high + t.plus}; };
    switch (t.what) {
      case What::nothing:
        break;
      case What::number:
        return plus(0, 0);
      case What::lo:
        return plus(l0, l1);
      case What::hi:
        return plus(h0, h1);
      case What::middle:
        return plus(l0 + halve(m0), h1 - halve_up(m0));
      case What::middle_up:
        return plus(l0 + halve_up(m0), h1 - halve(m0));
      case What::sum:
        return plus(l0 + h0, l1 + h1);
      case What::gap:
        return plus(m0, m1);
      case What::half_gap:
        return plus(halve(m0), halve(m1));
      case What::half_gap_up:
        return plus(halve_up(m0), halve_up(m1));
    }
    return {INT64_MIN, INT64_MAX};
  }
  bool is_no_less_than_zero(const Term& t) const { return span(t).low >= 0; }

  /// The result of a 64-bit instruction is exact where its operands were; one of 32 bits clears the upper half.
  Term result(Term t, bool is_wide) const {
    if (t.plus > farthest || t.plus < -farthest) return {};
    if (!is_wide) t.is_whole = is_no_less_than_zero(t);
    return t;
  }
  Term low_half(Term t) const {
    t.name = 0;
    return t.is_shifted || t.what == What::nothing ? only_named(t, false) : result(t, false);
  }
  Term stored_half(Term t) const {
    t.name = 0;
    t.is_whole = false;
    return t.is_shifted ? only_named(t, false) : t;
  }
  Term sign_extended(Term t) const {
    t.name = 0;
    t.is_whole = true;
    return t.is_shifted || t.what == What::nothing ? only_named(t, false) : t;
  }

  Term immediate(isa::Alu op, bool is_wide, Term t, s32 imm) const {
    if (t.what == What::nothing) return {};
    t.name = t.low_name = 0;
    using isa::Alu;
    switch (op) {
      case Alu::add:
      case Alu::sub:
        if (t.is_shifted) return {};
        t.plus += op == Alu::add ? s64{imm} : -s64{imm};
        return result(t, is_wide);
      case Alu::lsh:
        if (!is_wide || imm != 32 || t.is_shifted) return {};
        t.is_shifted = true;
        return t;
      case Alu::rsh:
      case Alu::arsh:
        return shifted_right(op == Alu::arsh, is_wide, t, static_cast<u32>(imm));
      case Alu::div:
        return imm == 2 && !t.is_shifted ? shifted_right(false, is_wide, t, 1) : Term{};
      default:
        return {};
    }
  }

  Term shifted_right(bool keeps_sign, bool is_wide, Term t, u32 by) const {
    if (t.is_shifted) {
      if (!is_wide || by < 32) return {};
      t.is_shifted = false;
      t.is_whole = keeps_sign || is_no_less_than_zero(t);
      if (by == 32) return t;
      by -= 32;
    } else if (is_wide && !t.is_whole) {
      return {};
    }
    // From here on the number is whole, or the instruction looks at its low half only.
    if (!keeps_sign && !is_no_less_than_zero(t)) return {};
    if (by == 1) return result(half(t), is_wide);
    const bool is_sign = by == 31 || (is_wide && by == 63);
    return !keeps_sign && is_sign ? Term{What::number, true, false, 0} : Term{};
  }

  static Term half(Term t) {
    const bool is_odd = (t.plus & 1) != 0;
    t.plus = halve(t.plus);
    switch (t.what) {
      case What::number:
        return t;
      case What::sum:
        t.what = is_odd ? What::middle_up : What::middle;
        return t;
      case What::gap:
        t.what = is_odd ? What::half_gap_up : What::half_gap;
        return t;
      default:
        return {};
    }
  }

  Term registers(isa::Alu op, bool is_wide, const Term& a, const Term& b) const {
    if (a.what == What::nothing || b.what == What::nothing || a.is_shifted || b.is_shifted) return {};
    using isa::Alu;
    if (op != Alu::add && op != Alu::sub) return {};
    Term t;
    t.what = op == Alu::add ? sum(a.what, b.what) : difference(a.what, b.what);
    if (t.what == What::nothing) return {};
    t.plus = op == Alu::add ? a.plus + b.plus : a.plus - b.plus;
    t.is_whole = a.is_whole && b.is_whole;
    return result(t, is_wide);
  }
  static What sum(What a, What b) {
    if (a > b) std::swap(a, b);
    if (a == What::number) return b;
    if (a == What::lo && b == What::hi) return What::sum;
    if (a == What::lo && b == What::gap) return What::hi;
    if (a == What::lo && b == What::half_gap) return What::middle;
    if (a == What::lo && b == What::half_gap_up) return What::middle_up;
    return What::nothing;
  }
  static What difference(What a, What b) {
    if (b == What::number) return a;
    if (a == What::hi && b == What::lo) return What::gap;
    if (a == What::hi && b == What::gap) return What::lo;
    if (a == What::hi && b == What::half_gap) return What::middle_up;
    if (a == What::hi && b == What::half_gap_up) return What::middle;
    return What::nothing;
  }
};

}  // namespace skep::verify
