// skep swapin: pages read back from swap, by process.

#include <algorithm>

#include "kit/columns.hpp"
#include "kit/kit.hpp"
#include "swapin/swapin.h"

namespace skep::tools {

const std::string_view swapin_summary = "pages read back from swap, by process";

int swapin(const Arguments& arguments) {
  Kit kit({.name = "swapin",
           .about = "Counts the pages that processes have read back from swap.",
           .examples = "  skep swapin          # each second, until Ctrl-C\n"
                       "  skep swapin -T 5 10  # every 5 seconds, ten times, without times"});
  bool no_times = false;
  kit.wants_pid();
  kit.wants_interval(1);
  kit.options().add_flag("-T,--notime", no_times, "no time above each table");
  if (auto status = kit.parse(arguments)) return *status;
  Columns columns(kit.output(), {{"COMM", "comm", -16}, {"PID", "pid", -7}, {"COUNT", "count"}});
  kit.on_summary([&] {
    auto rows = kit.entries<task_name, u64>("swapins", true);
    if (!rows) return kit.give_up(rows.error());
    std::sort(rows->begin(), rows->end(), [](auto& a, auto& b) { return a.second < b.second; });
    if (!kit.json() && !no_times) kit.output().line(clock_time());
    columns.heading();
    for (const auto& [task, count] : *rows) columns.row({text(task.comm), task.pid, count});
    if (!kit.json()) kit.output().line("");
  });
  return kit.run([&] {
    if (!kit.json()) kit.output().line("Counting swap ins. Ctrl-C to end.");
  });
}

}  // namespace skep::tools
