// skep biotop: which processes use the disks most, again and again.
#include <fmt/format.h>

#include <algorithm>

#include "biotop/biotop.h"
#include "kit/columns.hpp"
#include "kit/kit.hpp"
#include "kit/screen.hpp"

namespace skep::tools {

const std::string_view biotop_summary = "processes that use the disks most";

int biotop(const Arguments& arguments) {
  Kit kit({.name = "biotop",
           .about = "Shows again and again which processes use the disks most.",
           .examples = "  skep biotop          # each second, until Ctrl-C\n"
                       "  skep biotop -C 5     # every 5 seconds, the screen is not cleared\n"
                       "  skep biotop 5 10     # every 5 seconds, ten times\n"
                       "  skep biotop -p 181   # of process 181"});
  Screen screen;
  kit.wants_pid();
  kit.wants_interval(1);
  screen.wants_keep(kit);
  screen.wants_rows(kit);
  if (auto status = kit.parse(arguments)) return *status;
  Columns columns(kit.output(), {{"PID", "pid", -7},
                                 {"COMM", "comm", -16},
                                 {"D", "direction", 1},
                                 {"MAJ", "major", -3},
                                 {"MIN", "minor", -3},
                                 {"DISK", "disk", -8},
                                 {"I/O", "requests", 5},
                                 {"Kbytes", "kbytes", 7},
                                 {"AVGms", "average_ms", 6}});
  kit.on_summary([&] {
    auto rows = kit.entries<usage_key, usage>("usages", true);
    if (!rows) return kit.give_up(rows.error());
    std::sort(rows->begin(), rows->end(), [](auto& a, auto& b) { return a.second.bytes > b.second.bytes; });
    screen.begin(kit.output());
    columns.heading();
    for (std::size_t i = 0; i < rows->size() && i < screen.rows; ++i) {
      const auto& [key, used] = (*rows)[i];
      columns.row({key.pid, text(key.comm), key.is_write != 0 ? "W" : "R", key.major, key.minor, text(key.disk),
                   used.requests, Decimal{static_cast<double>(used.bytes) / 1024, 1},
                   Decimal{static_cast<double>(used.total_ns) / 1e6 / static_cast<double>(used.requests), 2}});
    }
  });
  return kit.run([&] {
    if (!kit.json())
      kit.output().line(fmt::format("Tracing... Output every {} secs. Hit Ctrl-C to end", kit.interval_s()));
  });
}

}  // namespace skep::tools
