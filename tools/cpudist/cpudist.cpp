// skep cpudist: how long tasks run before they leave the CPU, as histograms.
#include <fmt/format.h>

#include "cpudist/cpudist.h"
#include "kit/distribution.hpp"
#include "kit/process.hpp"

namespace skep::tools {

const std::string_view cpudist_summary = "how long tasks stay on a CPU, or off it, as histograms";

namespace {

/// "181 bash", or the number alone where the task is gone.
std::string number_and_name(const u32& tid) {
  const std::string comm = comm_of(tid);
  return comm.empty() ? fmt::format("{}", tid) : fmt::format("{} {}", tid, comm);
}

}  // namespace

int cpudist(const Arguments& arguments) {
  Kit kit({.name = "cpudist",
           .about = "Sums up as histograms how long tasks stay on a CPU before they leave it, or off it.",
           .examples = "  skep cpudist             # time on a CPU, at Ctrl-C\n"
                       "  skep cpudist -O          # time off it\n"
                       "  skep cpudist 1 10        # each second, ten times\n"
                       "  skep cpudist -mT 1       # in milliseconds, with the time\n"
                       "  skep cpudist -P          # one histogram for each process\n"
                       "  skep cpudist -p 185 -e   # of process 185, with average and total"});
  bool off_cpu = false, time = false, milliseconds = false, processes = false, threads = false, idle = false,
       extension = false;
  kit.wants_pid();
  kit.wants_interval(0);
  kit.options().add_flag("-O,--offcpu", off_cpu, "time off the CPU");
  kit.options().add_flag("-T,--timestamp", time, "the time above each output");
  kit.options().add_flag("-m,--milliseconds", milliseconds, "milliseconds instead of microseconds");
  const Option by_process = kit.options().add_flag("-P,--pids", processes, "one histogram for each process");
  kit.options().add_flag("-L,--tids", threads, "one histogram for each thread")->excludes(by_process);
  kit.options().add_flag("-I,--include-idle", idle, "the CPUs' idle time too");
  kit.options().add_flag("-e,--extension", extension, "average, total and count");
  if (auto status = kit.parse(arguments)) return *status;
  const u32 one_for = processes ? ONE_FOR_PROCESS : threads ? ONE_FOR_THREAD : ONE_FOR_ALL;
  kit.set("one_for", one_for);
  kit.set("off_cpu", off_cpu);
  kit.set("with_idle", idle);
  kit.set("milliseconds", milliseconds);
  if (one_for == ONE_FOR_ALL) kit.set_map_size("times", 1);
  const std::string_view names[] = {"", "pid", "tid"};
  const std::string_view unit = milliseconds ? "msecs" : "usecs";
  kit.on_summary([&] {
    begin_summary(kit, time);
    const Extent extent = print_histograms<u32>(kit, "times", unit, names[one_for], number_and_name);
    if (extension && extent.count != 0) print_extent(kit, extent, unit);
  });
  return kit.run([&] {
    if (!kit.json())
      kit.output().line(fmt::format("Tracing {}-CPU time... Hit Ctrl-C to end.", off_cpu ? "off" : "on"));
  });
}

}  // namespace skep::tools
