// See reciprocal.hpp.
#include "vm/jit/backend/reciprocal.hpp"

#include <bit>

namespace skep::vm::backend {
namespace {

using u128 = unsigned __int128;

/// The smallest s with 2^s >= d.
u32 log2_up(u64 d) { return 64 - static_cast<u32>(std::countl_zero(d - 1)); }

}  // namespace

/// The smallest reciprocal that is exact for 32-bit dividends; with at most 32 bits the product fits.
Reciprocal32 reciprocal_32(u64 d) {
  const u32 s = log2_up(d);
  for (u32 shift = 0; shift <= s; shift++) {
    const u128 whole = u128{1} << (32 + shift);
    const u64 m = static_cast<u64>((whole + d - 1) / d);
    if (static_cast<u64>(u128{m} * d - whole) > u64{1} << shift) continue;
    if (m > 0xffffffffu) break;
    return {m, 32 + shift, false};
  }
  return {static_cast<u64>(((u128{1} << 64) + d - 1) / d), 0, true};
}

Reciprocal64 reciprocal_64(u64 d) {
  // Even divisors: halving first may leave a reciprocal of 64 bits.
  for (u32 before = 0; before <= static_cast<u32>(std::countr_zero(d)); before++) {
    const u64 rest = d >> before;
    for (u32 shift = 0; shift < 64; shift++) {
      const u128 whole = u128{1} << (64 + shift), m = (whole + rest - 1) / rest;
      if (m >> 64 != 0) break;
      if (m * rest - whole > u128{1} << (shift + before)) continue;
      return {static_cast<u64>(m), before, shift, false};
    }
  }
  const u32 s = log2_up(d);
  return {static_cast<u64>((((u128{1} << s) - d) << 64) / d + 1), 0, s, true};
}

SignedReciprocal signed_reciprocal(u64 d, u32 width) {
  for (u32 s = 0;; s++) {  // ends at floor(log2 d) at the latest
    const u128 whole = u128{1} << (width + s), m = whole / d + 1;
    if (m * d - whole <= u128{1} << (s + 1)) return {static_cast<u64>(m), s};
  }
}

}  // namespace skep::vm::backend
