// What is known of a number in a register: known bits, bounds of all 64 bits, bounds of the low 32.
//
// The three views describe the same number and sharpen each other in normalise(): a program that checks
// `w1 < 16` bounds the low half, and if the high half is known to be zero the whole register. An operation
// computes each view on its own where that is exact, leaves it unknown where not, and normalises.
//
// normalise() says false where no number fits all views. Then the path that led here cannot happen, and the
// explorer drops it; this is sound exactly because every operator is (scalar_test.cpp enumerates a 16/8-bit
// instance of the same templates against the concrete operations).
#pragma once
#include "verify/domain/interval.hpp"

namespace skep::verify {

template <class W, class N>
struct BasicScalar {
  static_assert(sizeof(W) == 2 * sizeof(N));
  using Wide = W;
  using Narrow = N;
  using SW = std::make_signed_t<W>;
  using SN = std::make_signed_t<N>;
  static constexpr unsigned half = sizeof(N) * 8;
  static constexpr W low_mask = static_cast<W>(std::numeric_limits<N>::max());

  BasicTnum<W> bits;
  Interval<W> wide;
  Interval<N> narrow;

  friend constexpr bool operator==(const BasicScalar&, const BasicScalar&) = default;

  static constexpr BasicScalar of(W number) {
    return {BasicTnum<W>::of(number), Interval<W>::of(number), Interval<N>::of(static_cast<N>(number))};
  }
  static constexpr BasicScalar unknown() { return {}; }
  /// Every number of [low, high], unsigned.
  static constexpr BasicScalar range(W low, W high) {
    BasicScalar r;
    r.wide.meet_unsigned(low, high);
    r.normalise();
    return r;
  }
  static constexpr BasicScalar signed_range(SW low, SW high) {
    BasicScalar r;
    r.wide.meet_signed(low, high);
    r.normalise();
    return r;
  }
  /// A number of `count` low bits, zero above.
  static constexpr BasicScalar of_bits(unsigned count) {
    if (count >= 2 * half) return {};
    return range(0, static_cast<W>((W{1} << count) - 1));
  }

  constexpr bool is_const() const { return bits.mask == 0; }
  constexpr W value() const { return bits.value; }
  constexpr bool is_unknown() const {
    return bits == BasicTnum<W>::unknown() && wide.is_unknown() && narrow.is_unknown();
  }
  constexpr bool contains(W number) const {
    return bits.contains(number) && wide.contains(number) && narrow.contains(static_cast<N>(number));
  }
  constexpr bool includes(const BasicScalar& o) const {
    return wide.includes(o.wide) && narrow.includes(o.narrow) && bits.includes(o.bits);
  }

  /// The least that includes both, view by view.
  constexpr BasicScalar join(const BasicScalar& o) const {
    return {bits.join(o.bits), wide.join(o.wide), narrow.join(o.narrow)};
  }

  /// Lets the views sharpen each other. False: no number is possible.
  constexpr bool normalise() {
    if (is_const()) {  // all that is left to find out
      if (!contains(value())) return false;
      *this = of(value());
      return true;
    }
    from_bits();
    for (int round = 0; round < 3; round++) {
      const Interval<W> wide_before = wide;
      const Interval<N> narrow_before = narrow;
      narrow_from_wide();
      narrow.tighten();
      wide.tighten();
      wide_from_narrow();
      if (wide.is_empty() || narrow.is_empty()) return false;
      if (wide == wide_before && narrow == narrow_before) break;  // so would the next
    }
    wide.tighten();
    if (wide.is_empty()) return false;
    if (!bits.intersect(BasicTnum<W>::range(wide.umin, wide.umax))) return false;
    auto low = bits.low(half);
    auto bounds = BasicTnum<N>::range(narrow.umin, narrow.umax);
    if (!low.intersect({bounds.value, bounds.mask})) return false;
    bits = bits.with_low(half, low);
    from_bits();
    return !wide.is_empty() && !narrow.is_empty() && settle();
  }

  /// Forgets everything above the low half: the effect of a 32-bit operation.
  constexpr void zero_extend() {
    bits = bits.low(half);
    wide = Interval<W>::unsigned_range(narrow.umin, narrow.umax);
  }

 private:
  /// Known bits and bounds may leave one number between them: of 0xe0 and 0xf0 those above 0xe0. Linux finds that since
  /// 7.0, and where it was carried back.
  constexpr bool settle() {
    if (wide.umin == bits.min() && wide.umax == bits.max()) return true;
    const W only = bits.least_from(wide.umin);
    if (only != bits.greatest_to(wide.umax)) return true;
    if (!wide.contains(only) || !narrow.contains(static_cast<N>(only))) return false;
    *this = of(only);
    return true;
  }
  constexpr void from_bits() {
    constexpr W sign = static_cast<W>(W{1} << (2 * half - 1));
    wide.meet_unsigned(bits.min(), bits.max());
    wide.meet_signed(static_cast<SW>(bits.value | (bits.mask & sign)),
                     static_cast<SW>(bits.value | (bits.mask & ~sign)));
    constexpr N narrow_sign = static_cast<N>(N{1} << (half - 1));
    N value = static_cast<N>(bits.value), mask = static_cast<N>(bits.mask);
    narrow.meet_unsigned(value, static_cast<N>(value | mask));
    narrow.meet_signed(static_cast<SN>(value | (mask & narrow_sign)), static_cast<SN>(value | (mask & ~narrow_sign)));
  }

  /// Bounds of the low half from bounds [low, high] of the whole, both in one order.
  constexpr void narrow_from(W low, W high) {
    const N upper_low = static_cast<N>(low >> half), upper_high = static_cast<N>(high >> half);
    N l = static_cast<N>(low), h = static_cast<N>(high);
    if (upper_low == upper_high) {
      if (l <= h) narrow.meet_unsigned(l, h);
      if (static_cast<SN>(l) <= static_cast<SN>(h)) narrow.meet_signed(static_cast<SN>(l), static_cast<SN>(h));
    } else if (static_cast<N>(upper_low + 1) == upper_high && static_cast<SN>(l) < 0 && static_cast<SN>(h) >= 0) {
      // The range steps over one multiple of 2^32, close enough that the low half runs from l through -1 and 0 to h:
      // signed ones over 0 itself.
      narrow.meet_signed(static_cast<SN>(l), static_cast<SN>(h));
    }
  }
  constexpr void narrow_from_wide() {
    narrow_from(wide.umin, wide.umax);
    narrow_from(static_cast<W>(wide.smin), static_cast<W>(wide.smax));
  }
  constexpr void wide_from_narrow() {
    // x >= umin and low(x) >= narrow.umin: with umin's upper half, the low half is at least narrow.umin.
    auto with_low = [](W number, N low) { return static_cast<W>((number & ~low_mask) | low); };
    wide.meet_unsigned(with_low(wide.umin, narrow.umin), with_low(wide.umax, narrow.umax));
    wide.meet_signed(static_cast<SW>(with_low(static_cast<W>(wide.smin), narrow.umin)),
                     static_cast<SW>(with_low(static_cast<W>(wide.smax), narrow.umax)));
    // A number that fits the signed low half equals it.
    if (wide.smin >= Interval<N>::s_min && wide.smax <= Interval<N>::s_max) wide.meet_signed(narrow.smin, narrow.smax);
  }
};

using Scalar = BasicScalar<u64, u32>;

}  // namespace skep::verify
