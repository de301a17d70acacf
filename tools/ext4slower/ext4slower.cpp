// skep ext4slower: single operations of ext4 that took long.
#include <fmt/format.h>

#include "ext4slower/ext4slower.h"
#include "kit/columns.hpp"
#include "kit/ext4.h"
#include "kit/kit.hpp"

namespace skep::tools {

const std::string_view ext4slower_summary = "reads, writes, opens and fsyncs of ext4 that take long";

namespace {

char letter_of(u32 operation) {
  constexpr std::string_view letters = "RWOS";
  return operation < letters.size() ? letters[operation] : '?';
}

/// Bytes are those of reads and writes; the others return 0 or an error.
s64 bytes_of(const slow_event& event) {
  return event.operation == EXT4_READ || event.operation == EXT4_WRITE ? event.result : 0;
}

}  // namespace

int ext4slower(const Arguments& arguments) {
  Kit kit({.name = "ext4slower",
           .about = "Traces reads, writes, opens and fsyncs of ext4 that take long.",
           .examples = "  skep ext4slower          # longer than 10 ms\n"
                       "  skep ext4slower 1        # longer than 1 ms\n"
                       "  skep ext4slower --csv 1  # as comma-separated values, latency in microseconds\n"
                       "  skep ext4slower 0        # all of them; many\n"
                       "  skep ext4slower -p 185   # of process 185"});
  double least_ms = 10;
  bool csv = false;
  kit.wants_pid();
  kit.wants_duration("--duration");
  kit.options()
      .add_option("MIN_MS", least_ms, "milliseconds from which on it is long")
      ->capture_default_str()
      ->check(not_negative());
  kit.options().add_flag("--csv", csv, "comma-separated values");
  if (auto status = kit.parse(arguments)) return *status;
  kit.set("least_ns", static_cast<u64>(least_ms * 1e6));
  Columns columns = csv ? Columns(kit.output(), {{"ENDTIME_us", "time_us"},
                                                 {"TASK", "comm"},
                                                 {"PID", "pid"},
                                                 {"TYPE", "type"},
                                                 {"BYTES", "bytes"},
                                                 {"OFFSET_b", "offset"},
                                                 {"LATENCY_us", "latency_us"},
                                                 {"FILE", "file"}})
                        : Columns(kit.output(), {{"TIME", "time", -8},
                                                 {"COMM", "comm", -14},
                                                 {"PID", "pid", -6},
                                                 {"T", "type", 1},
                                                 {"BYTES", "bytes", -7},
                                                 {"OFF_KB", "offset_kb", -8},
                                                 {"LAT(ms)", "latency_ms", 7},
                                                 {"FILENAME", "file"}});
  if (csv) columns.separate_by_commas();
  kit.on_record<slow_event>("events", [&](const slow_event& event) {
    const Cell time = csv ? Cell(event.end_ns / 1000) : Cell(clock_time());
    const Cell latency =
        csv ? Cell(event.duration_ns / 1000) : Cell(Decimal{static_cast<double>(event.duration_ns) / 1e6, 2});
    columns.row({time, text(event.comm).substr(0, 14), event.pid, std::string(1, letter_of(event.operation)),
                 bytes_of(event), csv ? event.offset : event.offset / 1024, latency, text(event.file)});
  });
  return kit.run([&] {
    if (!kit.json() && !csv)
      kit.output().line(least_ms == 0 ? "Tracing ext4 operations"
                                      : fmt::format("Tracing ext4 operations slower than {} ms", least_ms));
    columns.heading();
  });
}

}  // namespace skep::tools
