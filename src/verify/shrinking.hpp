// A number of which every round leaves less, until it is 0: bits that are shifted out or cleared, digits that are
// divided off, Euclid's remainders.
//
// `x >>= 1`, `x /= 10` and `(x - 1) >> 1` leave at most the half of x, `x &= x - 1` one bit less: as long as x is not
// 0. So no round may come back without having looked at that, on x or on what it made of it; then x has shrunk in its
// number of digits, or else in its number of ones, and never grown in the first. For Euclid's algorithm, a pair of
// numbers becomes (b, a % b), and of two rounds the second leaves at most the half of b.
#pragma once
#include <optional>

#include "verify/closing_bounds.hpp"

namespace skep::verify {

/// How often the loop's head is reached at most; none: not known.
std::optional<u64> rounds_of_shrinking(const LoopBody& loop, const TouchedSlots& touched, const NumberAt& number_at,
                                       const Alike& alike);

}  // namespace skep::verify
