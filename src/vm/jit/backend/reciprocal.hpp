// Division by a constant as a multiplication by a rounded reciprocal: the numbers, for the selectors of every CPU.
//
// Unsigned: floor(a * m / 2^(N+s)) with m = ceil(2^(N+s) / d) is the quotient for every N-bit a when s is the
// smallest number with 2^s >= d; when m then needs N+1 bits, the missing bit costs an addition (N = 64) or a full
// 64-bit reciprocal (N = 32). Signed: the same with N-1, and one is added to negative quotients.
// Source: Granlund, Montgomery, "Division by Invariant Integers using Multiplication" (1994).
#pragma once
#include <skep/types.hpp>

namespace skep::vm::backend {

/// A 32-bit quotient: a * factor >> shift in 64 bits, or with `high` the upper half of the 128-bit product.
struct Reciprocal32 {
  u64 factor = 0;
  u32 shift = 0;
  bool high = false;
};
/// For 2 <= d < 2^32.
Reciprocal32 reciprocal_32(u64 d);

/// A 64-bit quotient: with h the upper half of (a >> before) * factor, h >> shift. With `add` the reciprocal is
/// 2^64 + factor: (((a - h) >> 1) + h) >> (shift - 1).
struct Reciprocal64 {
  u64 factor = 0;
  u32 before = 0, shift = 0;
  bool add = false;
};
/// For 2 <= d <= 2^63.
Reciprocal64 reciprocal_64(u64 d);

/// A signed quotient by d: the product's upper `width` bits as a signed number, shifted right arithmetically, plus 1
/// for negative dividends. In 64 bits a factor of 2^63 and above is read as 2^64 too small: add the dividend.
struct SignedReciprocal {
  u64 factor = 0;
  u32 shift = 0;
};
/// For 2 < d < 2^(width-1) that is no power of two.
SignedReciprocal signed_reciprocal(u64 d, u32 width);

}  // namespace skep::vm::backend
