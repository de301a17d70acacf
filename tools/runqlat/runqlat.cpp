// skep runqlat: how long tasks wait for a CPU, as histograms.
#include <fmt/format.h>

#include "kit/distribution.hpp"
#include "runqlat/runqlat.h"

namespace skep::tools {

const std::string_view runqlat_summary = "how long tasks wait for a CPU, as histograms";

int runqlat(const Arguments& arguments) {
  Kit kit({.name = "runqlat",
           .about = "Sums up as histograms how long tasks wait in the run queue for their turn on a CPU.",
           .examples = "  skep runqlat            # one histogram, at Ctrl-C\n"
                       "  skep runqlat 1 10       # one each second, ten times\n"
                       "  skep runqlat -mT 1      # in milliseconds, with the time\n"
                       "  skep runqlat -P         # one for each process\n"
                       "  skep runqlat -p 185     # of process 185\n"
                       "  skep runqlat -- make    # of what the command starts"});
  bool time = false, milliseconds = false, processes = false, threads = false, namespaces = false;
  kit.wants_pid();
  kit.wants_interval(0);
  kit.options().add_flag("-T,--timestamp", time, "the time above each output");
  kit.options().add_flag("-m,--milliseconds", milliseconds, "milliseconds instead of microseconds");
  Options& group = kit.options().add_exclusive_group("one histogram for each");
  group.add_flag("-P,--pids", processes, "process");
  group.add_flag("-L,--tids", threads, "thread");
  group.add_flag("--pidnss", namespaces, "PID namespace");
  if (auto status = kit.parse(arguments)) return *status;
  const u32 one_for = processes    ? ONE_FOR_PROCESS
                      : threads    ? ONE_FOR_THREAD
                      : namespaces ? ONE_FOR_PID_NAMESPACE
                                   : ONE_FOR_ALL;
  kit.set("one_for", one_for);
  kit.set("milliseconds", milliseconds);
  if (one_for == ONE_FOR_ALL) kit.set_map_size("latencies", 1);
  const std::string_view names[] = {"", "pid", "tid", "pidns"};
  kit.on_summary([&] {
    begin_summary(kit, time);
    print_histograms<u32>(kit, "latencies", milliseconds ? "msecs" : "usecs", names[one_for],
                          [](const u32& key) { return fmt::format("{}", key); });
  });
  return kit.run([&] {
    if (!kit.json()) kit.output().line("Tracing run queue latency... Hit Ctrl-C to end.");
  });
}

}  // namespace skep::tools
