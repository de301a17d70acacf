// See distribution.hpp.
#include "kit/distribution.hpp"

#include <fmt/format.h>

namespace skep::tools {

void begin_summary(Kit& kit, bool time) {
  if (kit.json()) return;
  kit.output().line("");
  if (time) kit.output().line(clock_time());
}

void print_extent(Kit& kit, const Extent& extent, std::string_view unit) {
  const u64 average = extent.count == 0 ? 0 : extent.total / extent.count;
  if (kit.json()) {
    kit.output().line(fmt::format(R"({{"average":{},"total":{},"count":{},"unit":"{}"}})", average, extent.total,
                                  extent.count, unit));
    return;
  }
  kit.output().line("");
  kit.output().line(
      fmt::format("avg = {} {}, total: {} {}, count: {}", average, unit, extent.total, unit, extent.count));
  kit.output().line("");
}

}  // namespace skep::tools
