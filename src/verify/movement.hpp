// A loop ends because of how far registers move in each of its rounds.
//
// From one visit of a loop's head to the next, every way that paths took has moved each register by a difference that
// lies in known bounds (gaps.hpp). Where a number, or the difference of two, is less after each round than before, and
// lies in known bounds whenever the head is reached, there are so many rounds only. Not every round need make the same
// number less: the rounds that do are put aside if no other round makes it more, and the others are asked for a number
// of their own. That is how `lo` and `hi` close in, and how a parser ends that jumps at most ten times and reads on
// otherwise.
// Source: Alias, Darte, Feautrier, Gonnord, "Multi-dimensional rankings, program termination, and complexity bounds of
// flowchart programs" (2010), of which this knows one register and the difference of two.
#pragma once
#include "verify/closing_bounds.hpp"
#include "verify/gaps.hpp"

namespace skep::verify {

/// Of one loop: what its rounds did to the registers.
struct Movements {
  std::vector<Movement> rounds;
  bool is_unknown = false;  ///< of one round at least

  void add(const Movement& movement);
};

/// How often the head is reached at most; none: not known.
std::optional<u64> rounds_by_movement(u32 head, const Movements& movements, const NumberAt& number_at, u64 most);

}  // namespace skep::verify
