// Maps of histograms, as a tool prints them at every interval: one for each key, taken out.
#pragma once
#include <algorithm>

#include "kit/columns.hpp"
#include "kit/histogram.hpp"
#include "kit/kit.hpp"

namespace skep::tools {

/// The empty line and, with `time`, the line with the time that begin each output of people's; nothing in JSON.
void begin_summary(Kit& kit, bool time);

/// As tool.bpf.h has it: sum of all values and how many there are.
struct Extent {
  u64 total = 0, count = 0;
};

/// Prints and empties a map of log2_histogram. `name` = `label_of(key)` stands above each, where `name` is not empty.
/// Errors end the tool.
template <class Key>
Extent print_histograms(Kit& kit, std::string_view map, std::string_view unit, std::string_view name,
                        const std::function<std::string(const Key&)>& label_of) {
  auto entries = kit.entries<Key, Log2Histogram>(map, true);
  if (!entries) {
    kit.give_up(entries.error());
    return {};
  }
  std::vector<std::pair<std::string, const Log2Histogram*>> labelled;
  for (const auto& [key, histogram] : *entries) labelled.emplace_back(label_of(key), &histogram);
  std::stable_sort(labelled.begin(), labelled.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  Extent extent;
  for (const auto& [label, histogram] : labelled) {
    print_log2(kit.output(), histogram->slots, unit, name, label);
    extent.total += histogram->total;
    for (const u64 slot : histogram->slots) extent.count += slot;
  }
  return extent;
}

/// The line of BCC's --extension: average, total and count.
void print_extent(Kit& kit, const Extent& extent, std::string_view unit);

}  // namespace skep::tools
