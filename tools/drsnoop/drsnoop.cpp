// skep drsnoop: tasks that had to free memory before they got some.
#include <unistd.h>

#include <charconv>

#include "base/mapped_file.hpp"
#include "drsnoop/drsnoop.h"
#include "kit/columns.hpp"
#include "kit/kit.hpp"

namespace skep::tools {

const std::string_view drsnoop_summary = "tasks that had to free memory before they got some (direct reclaim)";

namespace {

/// Free memory of the machine, now. 0 where /proc/vmstat does not tell.
u64 free_kilobytes() {
  const auto text = base::read_text("/proc/vmstat", 64 << 10);
  constexpr std::string_view key = "nr_free_pages ";
  const auto at = text ? text->find(key) : std::string::npos;
  if (at == std::string::npos) return 0;
  u64 pages = 0;
  std::from_chars(text->data() + at + key.size(), text->data() + text->size(), pages);
  return pages * static_cast<u64>(::sysconf(_SC_PAGESIZE)) / 1024;
}

}  // namespace

int drsnoop(const Arguments& arguments) {
  Kit kit({.name = "drsnoop",
           .about = "Traces direct reclaim: tasks that freed memory themselves because there was none, and how long "
                    "it took.",
           .examples = "  skep drsnoop           # of the whole machine\n"
                       "  skep drsnoop -T        # with times\n"
                       "  skep drsnoop -U        # with users\n"
                       "  skep drsnoop -p 181    # of process 181\n"
                       "  skep drsnoop -n mond   # of processes with \"mond\" in their names\n"
                       "  skep drsnoop -d 10 -v  # for ten seconds, with the free memory"});
  bool times = false, users = false, verbose = false;
  std::string name;
  kit.wants_pid();
  kit.wants_tid("-t,--tid");
  kit.wants_uid("-u,--uid");
  kit.wants_duration("-d,--duration");
  kit.options().add_flag("-T,--timestamp", times, "time of each, in seconds since the first");
  kit.options().add_flag("-U,--print-uid", users, "a column for the user");
  kit.options().add_option("-n,--name", name, "only processes whose names contain this");
  kit.options().add_flag("-v,--verbose", verbose, "a column for the machine's free memory when the line is printed");
  if (auto status = kit.parse(arguments)) return *status;
  Columns columns(kit.output(), {{"TIME(s)", "time_s", -14, times},
                                 {"UID", "uid", -6, users},
                                 {"COMM", "comm", -14},
                                 {"PID", "pid", -6},
                                 {"LAT(ms)", "latency_ms", 8},
                                 {"PAGES", "pages", 5},
                                 {"FREE(KB)", "free_kb", 10, verbose}});
  kit.on_record<reclaim_event>("events", [&](const reclaim_event& event) {
    if (!name.empty() && text(event.comm).find(name) == std::string_view::npos) return;
    columns.row({Decimal{seconds_since_start(event.begun_ns), 9}, event.uid, text(event.comm).substr(0, 14), event.pid,
                 Decimal{static_cast<double>(event.duration_ns) / 1e6, 2}, event.pages, free_kilobytes()});
  });
  return kit.run([&] { columns.heading(); });
}

}  // namespace skep::tools
