// Counters over the runs of one loaded program: `skep prog profile PROG cycles instructions`.
//
// Two small programs stand at the entry and the return of the program (fentry and fexit of its main function). The
// first reads the counters of its CPU into a per-CPU array, the second reads them again and adds up the differences. So
// what is counted is the program alone, on whichever CPU it runs, with what reading costs: some 30 ns a counter and
// run. Needs Linux 5.5, and programs that were loaded with types; programs of type tracing cannot be traced themselves.
// Source: kernel/bpf/trampoline.c; kernel/trace/bpf_trace.c, bpf_perf_event_read_value.
#pragma once
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"

namespace skep::kernel {

/// bpftool's names ("cycles", "llc_misses"), and perf(1)'s (perf_events.def). Errors: not_found.
Result<void> check_profile_counter(std::string_view name);

class Profiler {
 public:
  static constexpr std::size_t most_counters = 8;

  /// Sums over all CPUs and runs. Where there are more counters than the CPU has places for, they take turns:
  /// `running` of `enabled` nanoseconds it counted.
  struct Value {
    u64 counter = 0, enabled = 0, running = 0;
  };
  struct Reading {
    u64 runs = 0;
    std::vector<Value> values;  ///< in the order of the names
  };

  /// Errors: unsupported (no such counter on this machine, no fentry in this kernel, a program without types),
  /// permission, not_found, limit.
  static Result<Profiler> start(u32 program_id, std::span<const std::string> names);
  Result<Reading> read() const;

 private:
  std::vector<base::Fd> events_;
  base::Fd counters_, starts_, sums_, runs_, at_entry_, at_exit_;
  std::size_t count_ = 0;
};

}  // namespace skep::kernel
