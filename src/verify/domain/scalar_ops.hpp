// Arithmetic on scalars: what is known of `a op b` from what is known of a and b.
//
// alu<is_wide> computes one instruction's effect. A 64-bit operation keeps the low-half view alive where the low
// half of the result depends only on the low halves of the operands (sum, difference, product, bitwise, left
// shift); a 32-bit operation works on the low halves and zero-extends. Constants are folded by isa::semantics
// before this is called, so precision here is for ranges.
#pragma once
#include "isa/semantics.hpp"
#include "verify/domain/scalar.hpp"

namespace skep::verify {

/// One width's view of a number while an operation is computed.
template <class U>
struct View {
  BasicTnum<U> bits;
  Interval<U> range;
};

template <class U>
constexpr View<U> shift(isa::Alu op, const View<U>& a, const View<U>& count) {
  constexpr unsigned width = sizeof(U) * 8;
  if (count.range.umax >= width) return {};
  auto low = static_cast<unsigned>(count.range.umin), high = static_cast<unsigned>(count.range.umax);
  View<U> r;
  if (op == isa::Alu::lsh) {
    r.range = a.range.shifted_left(low, high);
    if (low == high) r.bits = a.bits.shifted_left(low);
  } else if (op == isa::Alu::rsh) {
    r.range = a.range.shifted_right(low, high);
    if (low == high) r.bits = a.bits.shifted_right(low);
  } else {
    r.range = a.range.shifted_right_signed(low, high);
    if (low == high) r.bits = a.bits.shifted_right_signed(low);
  }
  return r;
}

/// Signed division and remainder: bounded only where nothing is negative, which is where they equal the unsigned ones.
template <class U>
constexpr View<U> divide(isa::Alu op, const View<U>& a, const View<U>& b) {
  View<U> r;
  bool is_signed = op == isa::Alu::sdiv || op == isa::Alu::smod;
  if (is_signed && (a.range.smin < 0 || b.range.smin < 0)) return r;
  bool is_quotient = op == isa::Alu::div || op == isa::Alu::sdiv;
  r.range = is_quotient ? Interval<U>::quotient(a.range, b.range) : Interval<U>::remainder(a.range, b.range);
  return r;
}

template <class U>
constexpr View<U> apply(isa::Alu op, const View<U>& a, const View<U>& b) {
  View<U> r;
  switch (op) {
    case isa::Alu::add:
      return {a.bits + b.bits, a.range + b.range};
    case isa::Alu::sub:
      return {a.bits - b.bits, a.range - b.range};
    case isa::Alu::neg:
      return {BasicTnum<U>::of(0) - a.bits, Interval<U>::of(0) - a.range};
    case isa::Alu::mul:
      return {a.bits * b.bits, a.range * b.range};
    case isa::Alu::and_:
      r.bits = a.bits & b.bits;
      r.range = Interval<U>::bit_and(a.range, b.range, r.bits);
      return r;
    case isa::Alu::or_:
      r.bits = a.bits | b.bits;
      r.range = Interval<U>::bit_or(a.range, b.range, r.bits);
      return r;
    case isa::Alu::xor_:
      r.bits = a.bits ^ b.bits;
      r.range = Interval<U>::bit_xor(r.bits);
      return r;
    case isa::Alu::lsh:
    case isa::Alu::rsh:
    case isa::Alu::arsh:
      return shift(op, a, b);
    case isa::Alu::div:
    case isa::Alu::mod:
    case isa::Alu::sdiv:
    case isa::Alu::smod:
      return divide(op, a, b);
    case isa::Alu::mov:
      return b;
  }
  return r;
}

/// Whether the low half of a wide result depends only on the low halves of the operands.
constexpr bool low_half_is_closed(isa::Alu op) {
  return op == isa::Alu::add || op == isa::Alu::sub || op == isa::Alu::neg || op == isa::Alu::mul ||
         op == isa::Alu::and_ || op == isa::Alu::or_ || op == isa::Alu::xor_ || op == isa::Alu::mov;
}

template <class W, class N>
constexpr View<N> low_view(const BasicScalar<W, N>& s) {
  auto low = s.bits.low(sizeof(N) * 8);
  return {{static_cast<N>(low.value), static_cast<N>(low.mask)}, s.narrow};
}

/// `a op b` in 64 bits (is_wide) or in 32 bits, zero-extended.
template <class W, class N>
constexpr BasicScalar<W, N> alu(isa::Alu op, const BasicScalar<W, N>& a, const BasicScalar<W, N>& b, bool is_wide) {
  BasicScalar<W, N> r;
  if (is_wide) {
    View<W> whole = apply(op, View<W>{a.bits, a.wide}, View<W>{b.bits, b.wide});
    r.bits = whole.bits;
    r.wide = whole.range;
    if (low_half_is_closed(op)) r.narrow = apply(op, low_view(a), low_view(b)).range;
    // The low half becomes the high one, sign and all: how compilers begin to extend a sign, which `s>>=` then ends.
    constexpr unsigned half = sizeof(N) * 8;
    if (op == isa::Alu::lsh && b.is_const() && b.value() == half)
      r.wide.meet_signed(static_cast<std::make_signed_t<W>>(static_cast<W>(a.narrow.smin) << half),
                         static_cast<std::make_signed_t<W>>(static_cast<W>(a.narrow.smax) << half));
  } else {
    View<N> low = apply(op, low_view(a), low_view(b));
    r.bits = {low.bits.value, low.bits.mask};
    r.narrow = low.range;
    r.zero_extend();
  }
  r.normalise();
  return r;
}

/// The low `bits` bits, zero-extended: what a narrow load or store keeps.
template <class W, class N>
constexpr BasicScalar<W, N> truncated(const BasicScalar<W, N>& s, unsigned bits) {
  constexpr unsigned width = sizeof(W) * 8;
  if (bits >= width) return s;
  BasicScalar<W, N> r;
  if (bits == width / 2) {
    r = s;
    r.zero_extend();
    r.normalise();
    return r;
  }
  W top = static_cast<W>((W{1} << bits) - 1);
  r.bits = s.bits.low(bits);
  // The bounds survive when every candidate shares what is cut off.
  if (static_cast<W>(s.wide.umin & ~top) == static_cast<W>(s.wide.umax & ~top))
    r.wide.meet_unsigned(static_cast<W>(s.wide.umin & top), static_cast<W>(s.wide.umax & top));
  else
    r.wide.meet_unsigned(0, top);
  r.normalise();
  return r;
}

/// The low `bits` bits, sign-extended to the whole width (is_wide) or to the low half (then zero above).
template <class W, class N>
constexpr BasicScalar<W, N> sign_extended(const BasicScalar<W, N>& s, unsigned bits, bool is_wide) {
  constexpr unsigned width = sizeof(W) * 8;
  using SW = std::make_signed_t<W>;
  BasicScalar<W, N> low = truncated(s, bits);
  unsigned up = width - bits;
  BasicScalar<W, N> r;
  r.bits = low.bits.shifted_left(up).shifted_right_signed(up);
  W sign = static_cast<W>(W{1} << (bits - 1));
  SW bottom = static_cast<SW>(-static_cast<SW>(sign - 1) - 1), top = static_cast<SW>(sign - 1);
  if (low.wide.umax < sign)
    bottom = static_cast<SW>(low.wide.umin), top = static_cast<SW>(low.wide.umax);
  else if (low.wide.umin >= sign)
    bottom = static_cast<SW>(static_cast<W>(low.wide.umin << up)) >> up,
    top = static_cast<SW>(static_cast<W>(low.wide.umax << up)) >> up;
  else if (s.wide.smin >= bottom && s.wide.smax <= top)
    bottom = s.wide.smin, top = s.wide.smax;
  r.wide.meet_signed(bottom, top);
  r.normalise();
  return is_wide ? r : truncated(r, width / 2);
}

}  // namespace skep::verify
