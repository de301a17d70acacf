// skep biolatency: how long block devices take, as histograms.
#include <fmt/format.h>

#include "biolatency/biolatency.h"
#include "kit/block.hpp"
#include "kit/distribution.hpp"

namespace skep::tools {

const std::string_view biolatency_summary = "how long block devices take for requests, as histograms";

int biolatency(const Arguments& arguments) {
  Kit kit({.name = "biolatency",
           .about = "Sums up the latency of requests to block devices as histograms.",
           .examples = "  skep biolatency            # one histogram, at Ctrl-C\n"
                       "  skep biolatency 1 10       # each second, ten times\n"
                       "  skep biolatency -mT 1      # in milliseconds, with the time\n"
                       "  skep biolatency -Q         # with the time in the kernel's queue\n"
                       "  skep biolatency -D         # for each disk\n"
                       "  skep biolatency -F         # for each set of flags\n"
                       "  skep biolatency -d sdc -e  # of one disk, with average and total"});
  bool time = false, queued = false, milliseconds = false, disks = false, flags = false, extension = false;
  std::string disk;
  kit.wants_interval(0);
  kit.options().add_flag("-T,--timestamp", time, "the time above each output");
  kit.options().add_flag("-Q,--queued", queued, "with the time in the kernel's queue");
  kit.options().add_flag("-m,--milliseconds", milliseconds, "milliseconds instead of microseconds");
  const Option by_disk = kit.options().add_flag("-D,--disks", disks, "a histogram for each disk");
  kit.options().add_flag("-F,--flags", flags, "a histogram for each set of flags")->excludes(by_disk);
  kit.options().add_flag("-e,--extension", extension, "average, total and count");
  kit.options().add_option("-d,--disk", disk, "this disk only");
  if (auto status = kit.parse(arguments)) return *status;
  const auto only = wanted_disk(disk);
  if (!only) return kit.complain(only.error());
  kit.set("wanted_disk", *only);
  kit.set("with_queue_time", queued);
  kit.set("milliseconds", milliseconds);
  kit.set("each_disk", disks);
  kit.set("each_flags", flags);
  const std::string_view unit = milliseconds ? "msecs" : "usecs";
  kit.on_summary([&] {
    begin_summary(kit, time);
    const Extent extent = print_histograms<latency_key>(kit, "latencies", unit,
                                                        disks   ? "disk"
                                                        : flags ? "flags"
                                                                : "",
                                                        [&](const latency_key& key) {
                                                          if (flags) return block_flag_names(key.flags);
                                                          return key.disk[0] == 0 ? std::string("<unknown>")
                                                                                  : std::string(text(key.disk));
                                                        });
    if (extension && extent.count != 0) print_extent(kit, extent, unit);
  });
  return kit.run([&] {
    if (!kit.json()) kit.output().line("Tracing block device I/O... Hit Ctrl-C to end.");
  });
}

}  // namespace skep::tools
