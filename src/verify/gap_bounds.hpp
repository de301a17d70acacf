// Bounds of a register's number in one of two readings (gaps.hpp), and sums of them.
#pragma once
#include <algorithm>
#include <optional>

#include "verify/gaps.hpp"

namespace skep::verify::gap_bounds {

inline constexpr s64 s32_min = INT32_MIN, s32_max = INT32_MAX, u32_max = UINT32_MAX;

inline Bounds bounds(const Scalar& number, Reading view) {
  if (view == Reading::whole) return {number.wide.smin, number.wide.smax};
  return {number.narrow.smin, number.narrow.smax};
}

/// Whether the view's number is that which an instruction sees that takes it for one without a sign.
inline bool is_unsigned(const Scalar& number, Reading view, bool is_wide) {
  const Bounds whole = bounds(number, Reading::whole);
  if (view == Reading::whole) return whole.are_within(0, is_wide ? INT64_MAX : u32_max);
  return is_wide ? whole.are_within(0, s32_max) : number.narrow.smin >= 0;
}

/// The same, of one with a sign.
inline bool is_signed(const Scalar& number, Reading view, bool is_wide) {
  if ((view == Reading::whole) == is_wide) return true;
  return bounds(number, Reading::whole).are_within(s32_min, s32_max);
}

/// Whether a result that is computed modulo 2^64 or 2^32 and lies between is the integer.
inline bool fits(const Bounds& result, Reading view, bool is_wide) {
  if (view == Reading::low) return result.are_within(s32_min, s32_max);
  return is_wide || result.are_within(0, u32_max);
}

inline std::optional<Bounds> sum(const Bounds& a, const Bounds& b) {
  Bounds r;
  if (__builtin_add_overflow(a.low, b.low, &r.low) || __builtin_add_overflow(a.high, b.high, &r.high)) return {};
  return r;
}
inline std::optional<Bounds> reversed(const Bounds& a) {
  if (a.low == INT64_MIN) return {};
  return Bounds{-a.high, -a.low};
}
inline Distance distance(const std::optional<Bounds>& b) { return b ? Distance::of(b->low, b->high) : Distance{}; }

inline bool meet_number(Scalar& number, Reading view, const Bounds& found) {
  if (view == Reading::whole)
    number.wide.meet_signed(found.low, found.high);
  else
    number.narrow.meet_signed(static_cast<s32>(std::clamp(found.low, s32_min, s32_max)),
                              static_cast<s32>(std::clamp(found.high, s32_min, s32_max)));
  return number.normalise();
}

}  // namespace skep::verify::gap_bounds
