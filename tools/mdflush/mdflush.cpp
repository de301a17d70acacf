// skep mdflush: flushes of md arrays.

#include "mdflush/mdflush.h"
#include "kit/columns.hpp"
#include "kit/kit.hpp"

namespace skep::tools {

const std::string_view mdflush_summary = "flush requests to md arrays (software RAID)";

int mdflush(const Arguments& arguments) {
  Kit kit({.name = "mdflush",
           .about = "Traces flush requests to md arrays (software RAID): they can explain slow moments.",
           .examples = "  skep mdflush   # until Ctrl-C"});
  kit.wants_pid();
  kit.wants_duration("-d,--duration");
  if (auto status = kit.parse(arguments)) return *status;
  Columns columns(kit.output(),
                  {{"TIME", "time", -8}, {"PID", "pid", -7}, {"COMM", "comm", -16}, {"DEVICE", "device"}});
  kit.on_record<flush_event>("events", [&](const flush_event& event) {
    columns.row({clock_time(), event.pid, text(event.comm), text(event.disk)});
  });
  return kit.run([&] {
    if (!kit.json()) kit.output().line("Tracing md flush requests... Hit Ctrl-C to end.");
    columns.heading();
  });
}

}  // namespace skep::tools
