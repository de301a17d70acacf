// skep gethostlatency: how long host names take to look up.
#include "gethostlatency/gethostlatency.h"

#include "kit/columns.hpp"
#include "kit/kit.hpp"

namespace skep::tools {

const std::string_view gethostlatency_summary = "time that looking up host names takes";

int gethostlatency(const Arguments& arguments) {
  Kit kit({.name = "gethostlatency",
           .about = "Traces getaddrinfo(), gethostbyname() and gethostbyname2() of the C library.",
           .examples = "  skep gethostlatency          # of every process\n"
                       "  skep gethostlatency -p 181   # of process 181\n"
                       "  skep gethostlatency -- curl example.org   # of a command, without privileges",
           .user_engine = true,
           .kernel_first = true});
  kit.wants_pid();
  if (auto status = kit.parse(arguments)) return *status;
  Columns columns(
      kit.output(),
      {{"TIME", "time", -9}, {"PID", "pid", -7}, {"COMM", "comm", -16}, {"LATms", "lat_ms", 10}, {"HOST", "host"}});
  kit.on_record<lookup_event>("events", [&](const lookup_event& event) {
    columns.row({clock_time(), event.pid, text(event.comm), Decimal{static_cast<double>(event.spent_ns) / 1e6, 2},
                 text(event.host)});
  });
  return kit.run([&] { columns.heading(); });
}

}  // namespace skep::tools
