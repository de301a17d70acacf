// skep fileslower: reads and writes that keep their callers waiting.
#include "fileslower/fileslower.h"

#include <fmt/format.h>
#include <unistd.h>

#include "kit/columns.hpp"
#include "kit/kit.hpp"

namespace skep::tools {

const std::string_view fileslower_summary = "reads and writes of files that take long";

int fileslower(const Arguments& arguments) {
  Kit kit({.name = "fileslower",
           .about = "Traces synchronous reads and writes of files that take longer than a threshold.",
           .examples = "  skep fileslower              # those of 10 ms and more\n"
                       "  skep fileslower 1            # of 1 ms and more\n"
                       "  skep fileslower -p 181 0     # all of process 181\n"
                       "  skep fileslower 1 -- make",
           .user_engine = true});
  bool all_files = false;
  double least_ms = 10;
  kit.wants_pid();
  kit.options().add_flag("-a,--all-files", all_files, "sockets, pipes and others, too");
  kit.options()
      .add_option("MIN_MS", least_ms, "milliseconds from which calls are shown")
      ->check(not_negative())
      ->capture_default_str();
  if (auto status = kit.parse(arguments)) return *status;
  kit.set("self", static_cast<u32>(::getpid()));
  kit.set("all_files", all_files);
  kit.set("least_ns", static_cast<u64>(least_ms * 1e6));
  Columns columns(kit.output(), {{"TIME(s)", "time_s", -8},
                                 {"COMM", "comm", -14, true, true},
                                 {"TID", "tid", -6},
                                 {"D", "direction", 1},
                                 {"BYTES", "bytes", -7},
                                 {"LAT(ms)", "lat_ms", 7},
                                 {"FILENAME", "filename"}});
  kit.on_record<slow_io_event>("events", [&](const slow_io_event& event) {
    std::string name(text(event.name));
    if (name.empty()) name = fmt::format("fd {}", event.descriptor);
    columns.row({Decimal{seconds_since_start(event.time_ns), 3}, text(event.comm), event.tid,
                 event.writes != 0 ? "W" : "R", event.bytes, Decimal{static_cast<double>(event.spent_ns) / 1e6, 2},
                 name});
  });
  return kit.run([&] { columns.heading(); });
}

}  // namespace skep::tools
