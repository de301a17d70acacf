// skep statsnoop: who asks for the attributes of which file.

#include <cstring>

#include "kit/columns.hpp"
#include "kit/kit.hpp"
#include "statsnoop/statsnoop.h"

namespace skep::tools {

const std::string_view statsnoop_summary = "stat() calls: who, on which file, with what result";

int statsnoop(const Arguments& arguments) {
  Kit kit({.name = "statsnoop",
           .about = "Traces the stat() family: process, path, error.",
           .examples = "  skep statsnoop               # every stat() of the machine\n"
                       "  skep statsnoop -t -x         # only those that failed, with times\n"
                       "  skep statsnoop -p 181        # of process 181\n"
                       "  skep statsnoop -- ls -l",
           .user_engine = true});
  bool times = false, failed = false;
  kit.wants_pid();
  kit.options().add_flag("-t,--timestamp", times, "seconds since the first");
  kit.options().add_flag("-x,--failed", failed, "only those that failed");
  if (auto status = kit.parse(arguments)) return *status;
  kit.set("only_failed", failed);
  Columns columns(kit.output(), {{"TIME(s)", "time_s", -14, times},
                                 {"PID", "pid", -6},
                                 {"COMM", "comm", -16},
                                 {"FD", "fd", 4},
                                 {"ERR", "err", 3},
                                 {"PATH", "path"}});
  kit.on_bytes("events", offsetof(stat_event, path) + 1, [&](std::span<const std::byte> bytes) {
    stat_event event{};
    std::memcpy(&event, bytes.data(), std::min(bytes.size(), sizeof event - 1));
    columns.row({Decimal{seconds_since_start(event.time_ns), 9}, event.pid, text(event.comm),
                 event.result >= 0 ? 0 : -1, event.result >= 0 ? 0 : -event.result, text(event.path)});
  });
  return kit.run([&] { columns.heading(); });
}

}  // namespace skep::tools
