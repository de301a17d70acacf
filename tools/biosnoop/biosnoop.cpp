// skep biosnoop: every request to a block device, who wanted it and how long it took.
#include <fmt/format.h>

#include <map>

#include "kit/block.h"

#include "biosnoop/biosnoop.h"
#include "kit/block.hpp"
#include "kit/columns.hpp"

namespace skep::tools {

const std::string_view biosnoop_summary = "requests to block devices: who, where, how large, how long";

namespace {

/// Whether a request goes on where the one before it on the same disk ended.
class Patterns {
 public:
  char of(const block_request& request) {
    u64& next = next_sector_[std::string(text(request.disk))];
    const bool is_first = next == 0;
    const bool goes_on = next == request.sector;
    next = request.sector + request.bytes / 512;
    return is_first || request.bytes == 0 ? '?' : goes_on ? 'S' : 'R';
  }

 private:
  std::map<std::string, u64> next_sector_;
};

Decimal milliseconds(u64 from_ns, u64 to_ns) {
  return {from_ns == 0 || to_ns < from_ns ? 0 : static_cast<double>(to_ns - from_ns) / 1e6, 2};
}

}  // namespace

int biosnoop(const Arguments& arguments) {
  Kit kit({.name = "biosnoop",
           .about = "Traces requests to block devices: process, disk, operation, place, size, latency.",
           .examples = "  skep biosnoop          # every request\n"
                       "  skep biosnoop -Q       # with the time in the kernel's queue\n"
                       "  skep biosnoop -d sdc   # of one disk\n"
                       "  skep biosnoop -P       # sequential or random\n\n"
                       "T is R for read, W write, F flush, D discard; P is S where a request goes on where the disk's\n"
                       "last one ended, else R."});
  bool queue = false, pattern = false;
  std::string disk;
  kit.wants_pid();
  kit.wants_duration("--duration");
  kit.options().add_flag("-Q,--queue", queue, "a column for the time in the kernel's queue");
  kit.options().add_option("-d,--disk", disk, "this disk only");
  kit.options().add_flag("-P,--pattern", pattern, "a column: sequential or random");
  if (auto status = kit.parse(arguments)) return *status;
  const auto only = wanted_disk(disk);
  if (!only) return kit.complain(only.error());
  kit.set("wanted_disk", *only);
  Columns columns(kit.output(), {{"TIME(s)", "time_s", -11},
                                 {"COMM", "comm", -14},
                                 {"PID", "pid", -7},
                                 {"DISK", "disk", -9},
                                 {"T", "type", -1},
                                 {"SECTOR", "sector", -10},
                                 {"BYTES", "bytes", -7},
                                 {"P", "pattern", -1, pattern},
                                 {"QUE(ms)", "queue_ms", 7, queue},
                                 {"LAT(ms)", "latency_ms", 7}});
  Patterns patterns;
  kit.on_record<block_event>("events", [&](const block_event& event) {
    const block_request& request = event.request;
    columns.row({Decimal{seconds_since_start(event.done_ns), 6}, text(request.comm).substr(0, 14), request.pid,
                 text(request.disk), std::string(1, block_operation_letter(request.flags)), request.sector,
                 request.bytes, std::string(1, patterns.of(request)),
                 milliseconds(request.queued_ns, request.issued_ns), milliseconds(request.issued_ns, event.done_ns)});
  });
  return kit.run([&] { columns.heading(); });
}

}  // namespace skep::tools
