// skep syscount: which system calls, how often, how long.
#include "syscount/syscount.h"

#include <fmt/format.h>

#include <algorithm>

#include "catalog/syscalls.hpp"
#include "kit/columns.hpp"
#include "kit/kit.hpp"
#include "kit/process.hpp"

namespace skep::tools {

const std::string_view syscount_summary = "system calls counted, with the time they took";

namespace {

struct CountOptions {
  bool failures = false, latency = false, milliseconds = false, by_process = false, list = false;
  u32 top = 10;
  double interval_s = 0;
  std::string error, call;
  u32 parent = 0;
};

void add_options(Kit& kit, CountOptions& options) {
  auto& app = kit.options();
  kit.wants_pid();
  kit.wants_tid("-t,--tid");
  kit.wants_duration("-d,--duration");
  app.add_option("-c,--ppid", options.parent, "only children of this process")->check(range(1, 1 << 22));
  app.add_option("-i,--interval", options.interval_s, "seconds between outputs; without it one at the end")
      ->check(duration());
  app.add_option("-T,--top", options.top, "rows that are printed")->check(above_zero())->capture_default_str();
  app.add_flag("-x,--failures", options.failures, "only calls that failed");
  app.add_option("-e,--errno", options.error, "only calls that failed so: 2 or ENOENT");
  app.add_flag("-L,--latency", options.latency, "the time spent, too");
  app.add_flag("-m,--milliseconds", options.milliseconds, "times in milliseconds, not microseconds");
  app.add_flag("-P,--process", options.by_process, "by process, not by call");
  app.add_flag("-l,--list", options.list, "lists the names of system calls");
  app.add_option("--syscall", options.call, "only this call");
}

void print_counts(Kit& kit, const CountOptions& options) {
  auto rows = kit.entries<u32, call_count>("counts", true);
  if (!rows) {
    note(rows.error().message);
    return;
  }
  std::sort(rows->begin(), rows->end(), [&](const auto& a, const auto& b) {
    const auto weight = [&](const call_count& row) { return options.latency ? row.total_ns : row.count; };
    return std::pair(weight(a.second), b.first) > std::pair(weight(b.second), a.first);
  });
  if (rows->size() > options.top) rows->resize(options.top);
  const double unit = options.milliseconds ? 1e6 : 1e3;
  std::vector<Column> shown = {{"COUNT", "count", 8},
                               {options.milliseconds ? "TIME (ms)" : "TIME (us)", "time", 16, options.latency}};
  if (options.by_process)
    shown.insert(shown.begin(), {{"PID", "pid", -6}, {"COMM", "comm", -15}});
  else
    shown.insert(shown.begin(), {"SYSCALL", "syscall", -22});
  Columns columns(kit.output(), std::move(shown));
  if (!kit.json()) kit.output().line(fmt::format("[{}]", clock_time()));
  columns.heading();
  for (const auto& [key, row] : *rows) {
    const auto* call = catalog::syscall_row(key);
    std::vector<Cell> cells;
    if (options.by_process)
      cells = {key, text(row.comm)};
    else
      cells = {call != nullptr ? std::string(call->name) : fmt::format("[unknown: {}]", key)};
    cells.insert(cells.end(),
                 {Cell(row.count), Decimal{static_cast<double>(row.total_ns) / unit, options.milliseconds ? 6 : 3}});
    columns.row(cells);
  }
  if (!kit.json()) kit.output().line("");
}

}  // namespace

int syscount(const Arguments& arguments) {
  Kit kit({.name = "syscount",
           .about = "Counts system calls, by call or by process, with the time they took.",
           .examples = "  skep syscount                # until Ctrl-C\n"
                       "  skep syscount -i 1 -L        # every second, with times\n"
                       "  skep syscount -P -x          # failed calls by process\n"
                       "  skep syscount -e ENOENT\n"
                       "  skep syscount -- ls -l",
           .user_engine = true});
  CountOptions options;
  add_options(kit, options);
  if (auto status = kit.parse(arguments)) return *status;
  if (options.list) {
    for (u32 number = 0; number < catalog::syscall_limit; ++number)
      if (const auto* row = catalog::syscall_row(number)) fmt::print("{:>4} {}\n", number, row->name);
    return 0;
  }
  const int error = error_number(options.error);
  if (!options.error.empty() && error == 0) return kit.complain("-e: no error '" + options.error + "'");
  const auto* call = options.call.empty() ? nullptr : catalog::syscall_by_name(options.call);
  if (!options.call.empty() && call == nullptr) return kit.complain("--syscall: no system call '" + options.call + "'");
  kit.set("by_process", options.by_process);
  kit.set("with_latency", options.latency);
  kit.set("only_failed", options.failures);
  kit.set("wanted_error", static_cast<s32>(error));
  kit.set("wanted_parent", options.parent);
  if (call != nullptr) kit.set("wanted_call", static_cast<s32>(call->number));
  kit.only_if(options.latency, "enter");
  kit.print_every(options.interval_s);
  kit.on_summary([&] { print_counts(kit, options); });
  return kit.run([&] {
    if (!kit.json() && !kit.has_command()) note("counting system calls; Ctrl-C ends");
  });
}

}  // namespace skep::tools
