// See sort_by.hpp.
#include "base/sort_by.hpp"

#include <algorithm>

namespace skep::base {

std::vector<u32> places_in_order(const std::vector<u64>& numbers) {
  std::vector<u32> places(numbers.size());
  for (u32 i = 0; i < places.size(); ++i) places[i] = i;
  if (std::ranges::is_sorted(numbers)) return places;
  std::ranges::sort(places, [&](u32 a, u32 b) { return numbers[a] != numbers[b] ? numbers[a] < numbers[b] : a < b; });
  return places;
}

}  // namespace skep::base
