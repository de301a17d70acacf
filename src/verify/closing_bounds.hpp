// Two numbers that close in on each other: binary search, and two ends of an array that are walked towards its middle.
//
// Neither of `lo` and `hi` moves in every round; the distance hi - lo shrinks in each, by a step of one or to about a
// half. That is seen from what a round makes of the two on each of its ways, in terms of what they were at the loop's
// head: lo + c, hi + c, or their middle, (lo + hi) / 2 or lo + (hi - lo) / 2, and a constant; and from the comparison
// that lets the round begin, or the one that lets the next begin. `lo = mid` without `+ 1` does not shrink a distance
// of one.
#pragma once
#include <functional>
#include <optional>

#include "verify/register.hpp"
#include "verify/round.hpp"

namespace skep::verify {

/// What a place can hold when a loop's head is reached; none: not a number.
using NumberAt = std::function<std::optional<Scalar>(u32 insn, u32 place)>;

/// How often the loop's head is reached at most, for the best pair of such numbers; none: not known.
/// `number_on_entry`: what a place can hold when the loop is entered at its head; may be empty.
std::optional<u64> rounds_of_closing_bounds(const LoopBody& loop, const TouchedSlots& touched,
                                            const NumberAt& number_at, const NumberAt& number_on_entry,
                                            const Alike& alike);

}  // namespace skep::verify
