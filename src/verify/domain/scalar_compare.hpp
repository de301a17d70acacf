// Comparisons of scalars: whether a jump is decided, and what each outcome teaches.
//
// decide() answers "always", "never" or "either" from the views; refine() intersects both operands with what the
// outcome says about them and reports an outcome that cannot happen.
#pragma once
#include "verify/domain/scalar_ops.hpp"

namespace skep::verify {

enum class Decision : u8 { never, always, either };

/// The comparison that holds when `c` does not. `set` has none among the comparisons.
constexpr isa::Compare negated(isa::Compare c) {
  switch (c) {
    case isa::Compare::eq:
      return isa::Compare::ne;
    case isa::Compare::ne:
      return isa::Compare::eq;
    case isa::Compare::gt:
      return isa::Compare::le;
    case isa::Compare::le:
      return isa::Compare::gt;
    case isa::Compare::ge:
      return isa::Compare::lt;
    case isa::Compare::lt:
      return isa::Compare::ge;
    case isa::Compare::sgt:
      return isa::Compare::sle;
    case isa::Compare::sle:
      return isa::Compare::sgt;
    case isa::Compare::sge:
      return isa::Compare::slt;
    case isa::Compare::slt:
      return isa::Compare::sge;
    case isa::Compare::set:
      return isa::Compare::set;
  }
  return c;
}

template <class U>
constexpr Decision decide_order(isa::Compare c, const Interval<U>& a, const Interval<U>& b) {
  auto pick = [](bool always, bool never) {
    return always ? Decision::always : never ? Decision::never : Decision::either;
  };
  switch (c) {
    case isa::Compare::gt:
      return pick(a.umin > b.umax, a.umax <= b.umin);
    case isa::Compare::ge:
      return pick(a.umin >= b.umax, a.umax < b.umin);
    case isa::Compare::lt:
      return pick(a.umax < b.umin, a.umin >= b.umax);
    case isa::Compare::le:
      return pick(a.umax <= b.umin, a.umin > b.umax);
    case isa::Compare::sgt:
      return pick(a.smin > b.smax, a.smax <= b.smin);
    case isa::Compare::sge:
      return pick(a.smin >= b.smax, a.smax < b.smin);
    case isa::Compare::slt:
      return pick(a.smax < b.smin, a.smin >= b.smax);
    case isa::Compare::sle:
      return pick(a.smax <= b.smin, a.smin > b.smax);
    default:
      return Decision::either;
  }
}

template <class U>
constexpr Decision decide_view(isa::Compare c, const View<U>& a, const View<U>& b) {
  if (c == isa::Compare::set) {
    if (static_cast<U>(a.bits.value & b.bits.value)) return Decision::always;
    if (static_cast<U>((a.bits.value | a.bits.mask) & (b.bits.value | b.bits.mask)) == 0) return Decision::never;
    return Decision::either;
  }
  if (c == isa::Compare::eq || c == isa::Compare::ne) {
    bool same = a.bits.is_const() && a.bits == b.bits;
    bool apart = static_cast<U>((a.bits.value ^ b.bits.value) & ~a.bits.mask & ~b.bits.mask) != 0 ||
                 a.range.umin > b.range.umax || a.range.umax < b.range.umin || a.range.smin > b.range.smax ||
                 a.range.smax < b.range.smin;
    if (same) return c == isa::Compare::eq ? Decision::always : Decision::never;
    if (apart) return c == isa::Compare::eq ? Decision::never : Decision::always;
    return Decision::either;
  }
  return decide_order(c, a.range, b.range);
}

/// Whether `a c b` holds for every pair, for none, or for some.
template <class W, class N>
constexpr Decision decide(isa::Compare c, const BasicScalar<W, N>& a, const BasicScalar<W, N>& b, bool is_wide) {
  if (!is_wide) return decide_view(c, low_view(a), low_view(b));
  auto low =
      c == isa::Compare::eq || c == isa::Compare::ne ? decide_view(c, low_view(a), low_view(b)) : Decision::either;
  // Low halves that differ make the numbers differ.
  if (c == isa::Compare::eq && low == Decision::never) return Decision::never;
  if (c == isa::Compare::ne && low == Decision::always) return Decision::always;
  return decide_view(c, View<W>{a.bits, a.wide}, View<W>{b.bits, b.wide});
}

/// a <= b - gap (gap 0 or 1), in one order; false where that is impossible.
template <class T>
constexpr bool order(T& a_max, T& b_min, T a_min, T b_max, bool strict) {
  if (strict) {
    if (b_max == std::numeric_limits<T>::min() || a_min == std::numeric_limits<T>::max()) return false;
    a_max = std::min(a_max, static_cast<T>(b_max - 1));
    b_min = std::max(b_min, static_cast<T>(a_min + 1));
  } else {
    a_max = std::min(a_max, b_max);
    b_min = std::max(b_min, a_min);
  }
  return true;
}

template <class U>
constexpr bool refine_order(isa::Compare c, Interval<U>& a, Interval<U>& b) {
  switch (c) {
    case isa::Compare::lt:
    case isa::Compare::le:
      return order(a.umax, b.umin, a.umin, b.umax, c == isa::Compare::lt);
    case isa::Compare::gt:
    case isa::Compare::ge:
      return order(b.umax, a.umin, b.umin, a.umax, c == isa::Compare::gt);
    case isa::Compare::slt:
    case isa::Compare::sle:
      return order(a.smax, b.smin, a.smin, b.smax, c == isa::Compare::slt);
    case isa::Compare::sgt:
    case isa::Compare::sge:
      return order(b.smax, a.smin, b.smin, a.smax, c == isa::Compare::sgt);
    default:
      return true;
  }
}

/// x != number: only an end of a range can move.
template <class U>
constexpr void exclude(Interval<U>& range, U number) {
  using S = std::make_signed_t<U>;
  if (range.umin == number && range.umin < range.umax) range.umin++;
  if (range.umax == number && range.umin < range.umax) range.umax--;
  if (range.smin == static_cast<S>(number) && range.smin < range.smax) range.smin++;
  if (range.smax == static_cast<S>(number) && range.smin < range.smax) range.smax--;
}

/// Restricts a and b to the pairs for which `a c b` is `outcome`. False: there are none.
template <class W, class N>
constexpr bool refine(isa::Compare c, BasicScalar<W, N>& a, BasicScalar<W, N>& b, bool is_wide, bool outcome) {
  constexpr unsigned half = sizeof(N) * 8;
  if (c == isa::Compare::set) {
    const BasicScalar<W, N>* constant = b.is_const() ? &b : a.is_const() ? &a : nullptr;
    BasicScalar<W, N>& other = constant == &b ? a : b;
    if (constant == nullptr) return true;
    W tested = is_wide ? constant->value() : static_cast<W>(constant->value() & BasicScalar<W, N>::low_mask);
    BasicTnum<W> learnt;  // nothing yet
    if (!outcome)
      learnt.mask = static_cast<W>(~tested);
    else if (tested != 0 && (tested & (tested - 1)) == 0)
      learnt = {tested, static_cast<W>(~tested)};
    return other.bits.intersect(learnt) && other.normalise();
  }
  if (!outcome) c = negated(c);
  if (c == isa::Compare::eq) {
    if (is_wide) {
      a.wide.meet(b.wide);
      a.narrow.meet(b.narrow);
      if (!a.bits.intersect(b.bits) || !a.normalise()) return false;
      b = a;
      return true;
    }
    a.narrow.meet(b.narrow);
    auto low = a.bits.low(half);
    if (!low.intersect(b.bits.low(half))) return false;
    a.bits = a.bits.with_low(half, low);
    b.bits = b.bits.with_low(half, low);
    if (!a.normalise()) return false;
    b.narrow.meet(a.narrow);
    return b.normalise();
  }
  if (c == isa::Compare::ne) {
    if (is_wide) {
      if (b.is_const()) exclude(a.wide, b.value());
      if (a.is_const()) exclude(b.wide, a.value());
    } else {
      if (b.narrow.is_const()) exclude(a.narrow, b.narrow.umin);
      if (a.narrow.is_const()) exclude(b.narrow, a.narrow.umin);
    }
    return a.normalise() && b.normalise();
  }
  bool possible = is_wide ? refine_order(c, a.wide, b.wide) : refine_order(c, a.narrow, b.narrow);
  return possible && a.normalise() && b.normalise();
}

}  // namespace skep::verify
