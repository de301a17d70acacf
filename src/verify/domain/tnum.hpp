// Known bits: for every bit of a number, "0", "1" or "unknown".
//
// A Tnum is a pair (value, mask). A bit set in `mask` is unknown, the others are as in `value`; the two never
// share a bit. It stands for every number that agrees on the known bits, so `x & 0xf0` is known to have zero
// low bits even where nothing else is known of x. Intervals (scalar.hpp) cannot say that; together they can.
//
// All operators are sound: whenever x is in A and y is in B, x op y is in A op B. tnum_test.cpp checks that at
// 8 bits over every pair and every concrete number; the code is a template over the width for that reason.
// Sources: Vishwanathan et al., "Sound, Precise, and Fast Abstract Interpretation with Tristate Numbers" (CGO
// 2022) for addition and multiplication; Hacker's Delight for the carries.
#pragma once
#include <bit>
#include <skep/types.hpp>
#include <type_traits>

namespace skep::verify {

template <class U>
struct BasicTnum {
  static_assert(std::is_unsigned_v<U>);
  using S = std::make_signed_t<U>;
  static constexpr unsigned width = sizeof(U) * 8;

  U value = 0;
  U mask = static_cast<U>(~U{0});

  friend constexpr bool operator==(const BasicTnum&, const BasicTnum&) = default;

  static constexpr BasicTnum of(U number) { return {number, 0}; }
  static constexpr BasicTnum unknown() { return {0, static_cast<U>(~U{0})}; }

  /// The tightest Tnum that holds every number of [min, max].
  static constexpr BasicTnum range(U min, U max) {
    const auto bits =
        static_cast<unsigned>(std::bit_width(static_cast<U>(min ^ max)));  // from the highest that differs
    if (bits == width) return unknown();
    U low = static_cast<U>((U{1} << bits) - 1);
    return {static_cast<U>(min & ~low), low};
  }

  constexpr bool is_const() const { return mask == 0; }
  constexpr bool contains(U number) const { return static_cast<U>(number & ~mask) == value; }
  /// Whether every number of `other` is one of this.
  constexpr bool includes(const BasicTnum& other) const {
    return static_cast<U>(other.mask & ~mask) == 0 && static_cast<U>(other.value & ~mask) == value;
  }
  /// Smallest and largest member, as unsigned numbers.
  constexpr U min() const { return value; }
  constexpr U max() const { return static_cast<U>(value | mask); }
  /// The smallest member that is not below `number`, which is at most max().
  constexpr U least_from(U number) const {
    const U wrong = static_cast<U>((number ^ value) & ~mask);
    if (wrong == 0) return number;
    // Up to the highest known bit that differs the member is free; if that bit is 1 in `number`, it must be larger
    // above.
    const U below = static_cast<U>((U{1} << (std::bit_width(wrong) - 1)) * 2 - 1);
    if ((value & static_cast<U>(below & ~(below >> 1))) != 0)
      return static_cast<U>((number & ~below) | (value & below));
    const U carried = static_cast<U>((number | static_cast<U>(~mask) | below) + 1);
    return static_cast<U>(value | (carried & mask));
  }
  /// The largest member that is not above `number`, which is at least min().
  constexpr U greatest_to(U number) const {
    const BasicTnum mirrored{static_cast<U>(~value & ~mask), mask};
    return static_cast<U>(~mirrored.least_from(static_cast<U>(~number)));
  }
  /// Every member is a multiple of `alignment`, a power of two.
  constexpr bool is_aligned(U alignment) const { return ((value | mask) & (alignment - 1)) == 0; }

  /// The numbers in both; false where there are none (then the result means nothing).
  constexpr bool intersect(const BasicTnum& other) {
    if (static_cast<U>((value ^ other.value) & ~mask & ~other.mask) != 0) return false;
    U known = static_cast<U>(value | other.value);
    mask = static_cast<U>(mask & other.mask);
    value = static_cast<U>(known & ~mask);
    return true;
  }
  /// The tightest Tnum that includes both.
  constexpr BasicTnum join(const BasicTnum& other) const {
    U unknown_bits = static_cast<U>(mask | other.mask | (value ^ other.value));
    return {static_cast<U>(value & ~unknown_bits), unknown_bits};
  }

  friend constexpr BasicTnum operator+(const BasicTnum& a, const BasicTnum& b) {
    U sum_masks = static_cast<U>(a.mask + b.mask);
    U sum_values = static_cast<U>(a.value + b.value);
    U all = static_cast<U>(sum_masks + sum_values);
    U unknown_bits = static_cast<U>((all ^ sum_values) | a.mask | b.mask);
    return {static_cast<U>(sum_values & ~unknown_bits), unknown_bits};
  }
  friend constexpr BasicTnum operator-(const BasicTnum& a, const BasicTnum& b) {
    U difference = static_cast<U>(a.value - b.value);
    U highest = static_cast<U>(difference + a.mask);
    U lowest = static_cast<U>(difference - b.mask);
    U unknown_bits = static_cast<U>((highest ^ lowest) | a.mask | b.mask);
    return {static_cast<U>(difference & ~unknown_bits), unknown_bits};
  }
  friend constexpr BasicTnum operator&(const BasicTnum& a, const BasicTnum& b) {
    U possible = static_cast<U>((a.value | a.mask) & (b.value | b.mask));
    U certain = static_cast<U>(a.value & b.value);
    return {certain, static_cast<U>(possible & ~certain)};
  }
  friend constexpr BasicTnum operator|(const BasicTnum& a, const BasicTnum& b) {
    U certain = static_cast<U>(a.value | b.value);
    return {certain, static_cast<U>((a.mask | b.mask) & ~certain)};
  }
  friend constexpr BasicTnum operator^(const BasicTnum& a, const BasicTnum& b) {
    U unknown_bits = static_cast<U>(a.mask | b.mask);
    return {static_cast<U>((a.value ^ b.value) & ~unknown_bits), unknown_bits};
  }
  /// Schoolbook multiplication over the bits of `a`: known products are summed exactly, unknown bits add masks.
  friend constexpr BasicTnum operator*(BasicTnum a, BasicTnum b) {
    U known = static_cast<U>(static_cast<u64>(a.value) * static_cast<u64>(b.value));
    BasicTnum doubt = of(0);
    while (a.value || a.mask) {
      if (a.value & 1)
        doubt = doubt + BasicTnum{0, b.mask};
      else if (a.mask & 1)
        doubt = doubt + BasicTnum{0, static_cast<U>(b.value | b.mask)};
      a = a.shifted_right(1);
      b = b.shifted_left(1);
    }
    return of(known) + doubt;
  }
  /// Shifts by a known count below the width.
  constexpr BasicTnum shifted_left(unsigned count) const {
    return {static_cast<U>(value << count), static_cast<U>(mask << count)};
  }
  constexpr BasicTnum shifted_right(unsigned count) const {
    return {static_cast<U>(value >> count), static_cast<U>(mask >> count)};
  }
  constexpr BasicTnum shifted_right_signed(unsigned count) const {
    return {static_cast<U>(static_cast<S>(value) >> count), static_cast<U>(static_cast<S>(mask) >> count)};
  }
  /// The low `bits` bits, zero-extended.
  constexpr BasicTnum low(unsigned bits) const {
    if (bits >= width) return *this;
    U kept = static_cast<U>((U{1} << bits) - 1);
    return {static_cast<U>(value & kept), static_cast<U>(mask & kept)};
  }
  /// This with its low `bits` bits replaced by those of `other`.
  constexpr BasicTnum with_low(unsigned bits, const BasicTnum& other) const {
    if (bits >= width) return other;
    U kept = static_cast<U>((U{1} << bits) - 1);
    return {static_cast<U>((value & ~kept) | (other.value & kept)),
            static_cast<U>((mask & ~kept) | (other.mask & kept))};
  }
};

using Tnum = BasicTnum<u64>;

}  // namespace skep::verify
