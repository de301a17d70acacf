// See nearest.hpp.
#include "base/nearest.hpp"

#include <algorithm>
#include <vector>

namespace skep::base {

namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string_view nearest(std::string_view wanted, std::span<const std::string_view> candidates) {
  constexpr std::size_t longest_compared = 128;  // bounds the work for hostile names
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(1, std::min(wanted.size(), longest_compared) / 3) + 1;
  for (std::string_view candidate : candidates) {
    const std::size_t distance =
        edit_distance(wanted.substr(0, longest_compared), candidate.substr(0, longest_compared));
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace skep::base
