// Bounds of a number, read as unsigned and as signed at once.
//
// Interval<u64> says "umin <= x <= umax and smin <= s64(x) <= smax". Both readings are kept because programs
// compare both ways, and one sharpens the other (tighten). Operators wrap as the machine does: where an end can
// overflow, the reading that overflowed becomes unbounded.
// scalar.hpp combines a 64-bit interval, one of the low 32 bits, and known bits.
#pragma once
#include <algorithm>
#include <limits>

#include "verify/domain/tnum.hpp"

namespace skep::verify {

template <class U>
struct Interval {
  using S = std::make_signed_t<U>;
  static constexpr unsigned width = sizeof(U) * 8;
  static constexpr U u_max = std::numeric_limits<U>::max();
  static constexpr S s_min = std::numeric_limits<S>::min(), s_max = std::numeric_limits<S>::max();

  U umin = 0, umax = u_max;
  S smin = s_min, smax = s_max;

  friend constexpr bool operator==(const Interval&, const Interval&) = default;

  static constexpr Interval of(U number) { return {number, number, static_cast<S>(number), static_cast<S>(number)}; }
  static constexpr Interval unknown() { return {}; }
  static constexpr Interval unsigned_range(U low, U high) {
    Interval result{low, high, s_min, s_max};
    result.tighten();
    return result;
  }
  static constexpr Interval signed_range(S low, S high) {
    Interval result{0, u_max, low, high};
    result.tighten();
    return result;
  }

  constexpr bool is_const() const { return umin == umax; }
  constexpr bool is_empty() const { return umin > umax || smin > smax; }
  constexpr bool contains(U number) const {
    return umin <= number && number <= umax && smin <= static_cast<S>(number) && static_cast<S>(number) <= smax;
  }
  constexpr bool includes(const Interval& o) const {
    return umin <= o.umin && umax >= o.umax && smin <= o.smin && smax >= o.smax;
  }
  constexpr bool is_unknown() const { return *this == Interval{}; }

  constexpr void meet_unsigned(U low, U high) {
    umin = std::max(umin, low);
    umax = std::min(umax, high);
  }
  constexpr void meet_signed(S low, S high) {
    smin = std::max(smin, low);
    smax = std::min(smax, high);
  }
  constexpr void meet(const Interval& o) {
    meet_unsigned(o.umin, o.umax);
    meet_signed(o.smin, o.smax);
  }

  /// The least that includes both.
  constexpr Interval join(const Interval& o) const {
    return {std::min(umin, o.umin), std::max(umax, o.umax), std::min(smin, o.smin), std::max(smax, o.smax)};
  }

  /// Carries what one reading knows over to the other.
  constexpr void tighten() {
    // All unsigned candidates on one side of the sign boundary: the orders agree there.
    if (static_cast<S>(umin) <= static_cast<S>(umax)) meet_signed(static_cast<S>(umin), static_cast<S>(umax));
    if (static_cast<U>(smin) <= static_cast<U>(smax)) {
      meet_unsigned(static_cast<U>(smin), static_cast<U>(smax));
      return;
    }
    // The signed range crosses -1/0: as unsigned numbers it is [0, smax] and [smin, max]. If the unsigned range
    // meets only one of the two, the other is out.
    if (smin >= 0 || smax < 0) return;
    if (umin > static_cast<U>(smax)) {
      umin = std::max(umin, static_cast<U>(smin));
      smax = std::min<S>(smax, -1);
      meet_signed(static_cast<S>(umin), static_cast<S>(umax));
    } else if (umax < static_cast<U>(smin)) {
      umax = std::min(umax, static_cast<U>(smax));
      smin = std::max<S>(smin, 0);
      meet_signed(static_cast<S>(umin), static_cast<S>(umax));
    }
  }

  friend constexpr Interval operator+(const Interval& a, const Interval& b) {
    Interval r;
    bool low = __builtin_add_overflow(a.umin, b.umin, &r.umin);
    bool high = __builtin_add_overflow(a.umax, b.umax, &r.umax);
    if (low != high) r.umin = 0, r.umax = u_max;  // one end wrapped: the range does too
    low = __builtin_add_overflow(a.smin, b.smin, &r.smin);
    high = __builtin_add_overflow(a.smax, b.smax, &r.smax);
    if (low || high) r.smin = s_min, r.smax = s_max;
    return r;
  }
  friend constexpr Interval operator-(const Interval& a, const Interval& b) {
    Interval r;
    bool low = __builtin_sub_overflow(a.umin, b.umax, &r.umin);
    bool high = __builtin_sub_overflow(a.umax, b.umin, &r.umax);
    if (low != high) r.umin = 0, r.umax = u_max;
    low = __builtin_sub_overflow(a.smin, b.smax, &r.smin);
    high = __builtin_sub_overflow(a.smax, b.smin, &r.smax);
    if (low || high) r.smin = s_min, r.smax = s_max;
    return r;
  }
  friend constexpr Interval operator*(const Interval& a, const Interval& b) {
    Interval r;
    U low = 0, high = 0;
    if (!__builtin_mul_overflow(a.umin, b.umin, &low) && !__builtin_mul_overflow(a.umax, b.umax, &high))
      r.umin = low, r.umax = high;
    S p[4] = {};
    if (!__builtin_mul_overflow(a.smin, b.smin, &p[0]) && !__builtin_mul_overflow(a.smin, b.smax, &p[1]) &&
        !__builtin_mul_overflow(a.smax, b.smin, &p[2]) && !__builtin_mul_overflow(a.smax, b.smax, &p[3])) {
      r.smin = std::min(std::min(p[0], p[1]), std::min(p[2], p[3]));
      r.smax = std::max(std::max(p[0], p[1]), std::max(p[2], p[3]));
    }
    return r;
  }
  /// Bitwise operators take the known bits of the result, which bound it from the other side.
  static constexpr Interval bit_and(const Interval& a, const Interval& b, const BasicTnum<U>& result) {
    return unsigned_range(result.min(), std::min(a.umax, b.umax));
  }
  static constexpr Interval bit_or(const Interval& a, const Interval& b, const BasicTnum<U>& result) {
    return unsigned_range(std::max(a.umin, b.umin), result.max());
  }
  static constexpr Interval bit_xor(const BasicTnum<U>& result) { return unsigned_range(result.min(), result.max()); }

  /// Shifts by a count of [low, high], high < width.
  constexpr Interval shifted_left(unsigned low, unsigned high) const {
    if (umax > static_cast<U>(u_max >> high)) return unknown();
    return unsigned_range(static_cast<U>(umin << low), static_cast<U>(umax << high));
  }
  constexpr Interval shifted_right(unsigned low, unsigned high) const {
    return unsigned_range(static_cast<U>(umin >> high), static_cast<U>(umax >> low));
  }
  constexpr Interval shifted_right_signed(unsigned low, unsigned high) const {
    S bottom = static_cast<S>(smin >> (smin < 0 ? low : high));
    S top = static_cast<S>(smax >> (smax < 0 ? high : low));
    return signed_range(bottom, top);
  }
  /// Unsigned quotient; a divisor of 0 gives 0.
  static constexpr Interval quotient(const Interval& a, const Interval& b) {
    U smallest = std::max<U>(b.umin, 1);
    U low = b.umin == 0 ? U{0} : static_cast<U>(a.umin / b.umax);
    return unsigned_range(low, b.umax == 0 ? U{0} : static_cast<U>(a.umax / smallest));
  }
  /// Unsigned remainder; a divisor of 0 leaves the dividend.
  static constexpr Interval remainder(const Interval& a, const Interval& b) {
    if (b.umin == 0) return unsigned_range(0, a.umax);
    if (a.umax < b.umin) return unsigned_range(a.umin, a.umax);
    return unsigned_range(0, std::min(a.umax, static_cast<U>(b.umax - 1)));
  }
};

}  // namespace skep::verify
