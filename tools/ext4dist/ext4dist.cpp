// skep ext4dist: how long ext4 takes for reads, writes, opens and fsyncs.

#include "kit/distribution.hpp"

namespace skep::tools {

const std::string_view ext4dist_summary = "how long ext4 takes for reads, writes, opens and fsyncs, as histograms";

int ext4dist(const Arguments& arguments) {
  Kit kit({.name = "ext4dist",
           .about = "Sums up how long ext4 takes for reads, writes, opens and fsyncs, as histograms.",
           .examples = "  skep ext4dist          # at Ctrl-C\n"
                       "  skep ext4dist -p 181   # of process 181\n"
                       "  skep ext4dist 1 10     # each second, ten times\n"
                       "  skep ext4dist -m 5     # in milliseconds, every 5 seconds"});
  bool no_time = false, milliseconds = false;
  kit.wants_pid();
  kit.wants_interval(0);
  kit.options().add_flag("-T,--notimestamp", no_time, "no time above each output");
  kit.options().add_flag("-m,--milliseconds", milliseconds, "milliseconds instead of microseconds");
  if (auto status = kit.parse(arguments)) return *status;
  kit.set("milliseconds", milliseconds);
  kit.on_summary([&] {
    begin_summary(kit, kit.interval_s() > 0 && !no_time);
    print_histograms<u32>(kit, "latencies", milliseconds ? "msecs" : "usecs", "operation", [](const u32& operation) {
      const std::string_view names[] = {"read", "write", "open", "fsync"};
      return std::string(operation < std::size(names) ? names[operation] : "?");
    });
  });
  return kit.run([&] {
    if (!kit.json()) kit.output().line("Tracing ext4 operation latency... Hit Ctrl-C to end.");
  });
}

}  // namespace skep::tools
