// skep threadsnoop: threads that are started.
#include "threadsnoop/threadsnoop.h"

#include <fmt/format.h>

#include "kit/columns.hpp"
#include "kit/kit.hpp"

namespace skep::tools {

const std::string_view threadsnoop_summary = "threads that are started, with the function they run";

int threadsnoop(const Arguments& arguments) {
  Kit kit({.name = "threadsnoop",
           .about = "Traces pthread_create(): who starts a thread, and with which function.",
           .examples = "  skep threadsnoop             # of every process\n"
                       "  skep threadsnoop -p 181      # of process 181\n"
                       "  skep threadsnoop -- ./server # of a command, without privileges",
           .user_engine = true,
           .kernel_first = true});
  kit.wants_pid();
  if (auto status = kit.parse(arguments)) return *status;
  Columns columns(kit.output(),
                  {{"TIME(ms)", "time_ms", -10}, {"PID", "pid", -7}, {"COMM", "comm", -16}, {"FUNC", "func"}});
  kit.on_record<thread_event>("events", [&](const thread_event& event) {
    columns.row({static_cast<u64>(seconds_since_start(event.time_ns) * 1000), event.pid, text(event.comm),
                 fmt::format("[{:#x}]", event.start)});
  });
  return kit.run([&] { columns.heading(); });
}

}  // namespace skep::tools
