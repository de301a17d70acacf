// skep exitsnoop: how long processes lived and how they ended.
#include <fmt/format.h>

#include <ctime>

#include "exitsnoop/exitsnoop.h"
#include "kit/columns.hpp"
#include "kit/kit.hpp"
#include "kit/process.hpp"

namespace skep::tools {

const std::string_view exitsnoop_summary = "processes that ended: age, exit code or signal";

namespace {

/// "0", "code 3", "signal 9 (KILL)", "signal 11 (SEGV, core dumped)".
std::string ending(int code) {
  const int number = code & 0x7f;
  if (number == 0) return code == 0 ? "0" : fmt::format("code {}", (code >> 8) & 0xff);
  std::string name = signal_name(number);
  if (name.starts_with("SIG")) name.erase(0, 3);
  return fmt::format("signal {} ({}{})", number, name, (code & 0x80) != 0 ? ", core dumped" : "");
}

/// clock_time() where clocks show Universal Time.
std::string universal_time() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  return fmt::format("{:02}:{:02}:{:02}", parts.tm_hour, parts.tm_min, parts.tm_sec);
}

}  // namespace

int exitsnoop(const Arguments& arguments) {
  Kit kit({.name = "exitsnoop",
           .about = "Traces the end of processes: how old they were, and the exit code or signal.",
           .examples = "  skep exitsnoop                 # every process that ends\n"
                       "  skep exitsnoop -x              # only those that failed or were killed\n"
                       "  skep exitsnoop -t -p 181       # process 181, with the time of day\n"
                       "  skep exitsnoop --per-thread    # every thread\n"
                       "  skep exitsnoop -- make         # of a command, without privileges",
           .user_engine = true});
  bool times = false, utc = false, failed = false, threads = false;
  std::string label;
  kit.wants_pid();
  kit.options().add_flag("-t,--timestamp", times, "the time of day of each");
  kit.options().add_flag("--utc", utc, "the same in Universal Time");
  kit.options().add_flag("-x,--failed", failed, "only with an exit code or signal");
  kit.options().add_flag("--per-thread", threads, "threads, not only processes");
  const Option labelled = kit.options()
                              .add_option("--label", label, "a first column that says this, or \"exit\"")
                              ->expected(0, 1)
                              ->type_name("[TEXT]");
  if (auto status = kit.parse(arguments)) return *status;
  if (label.empty()) label = "exit";
  kit.set("only_failed", failed);
  kit.set("threads", threads);
  Columns columns(kit.output(), {{utc ? "TIME-UTC" : "TIME", "time", -8, times || utc},
                                 {"LABEL", "label", -6, labelled.count() > 0},
                                 {"PCOMM", "comm", -16},
                                 {"PID", "pid", -7},
                                 {"PPID", "ppid", -7},
                                 {"TID", "tid", -7},
                                 {"AGE(s)", "age_s", -7},
                                 {"EXIT_CODE", "exit"}});
  kit.on_record<exit_event>("events", [&](const exit_event& event) {
    const double age = event.end_ns < event.start_ns ? 0 : static_cast<double>(event.end_ns - event.start_ns) / 1e9;
    columns.row({utc ? universal_time() : clock_time(), label, text(event.comm), event.pid, event.parent, event.tid,
                 Decimal{age, 2}, ending(event.code)});
  });
  return kit.run([&] { columns.heading(); });
}

}  // namespace skep::tools
