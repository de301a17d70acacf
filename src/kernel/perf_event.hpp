// perf_event_open(2) as a Result, the counters by name, and the kernel's event sources.
#pragma once
#include <optional>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <string>
#include <string_view>

#include "base/fd.hpp"

struct perf_event_attr;

namespace skep::kernel {

/// Opens an event, close-on-exec. `pid` -1: every process; `cpu` -1: wherever it runs.
/// EPERM and EACCES are explained (access.hpp).
Result<base::Fd> open_perf_event(perf_event_attr& attr, int pid, int cpu);

/// The number of an event source ("kprobe", "uprobe"), or nullopt where this kernel has none.
std::optional<u32> perf_source_type(const std::string& name);

/// The bit of perf_event_attr::config that makes a probe fire at the function's return.
std::optional<u32> perf_return_bit(const std::string& name);

/// A row of perf_events.def.
struct PerfCounter {
  std::string_view name;
  u32 type = 0;
  u64 config = 0;
  bool is_hardware() const noexcept;
};
/// Errors: not_found, with the names there are.
Result<PerfCounter> perf_counter(std::string_view name);

/// Why this machine did not open a counter (ENOENT, EOPNOTSUPP and their kind): it has no hardware counters at all, or
/// not this one. A clause.
std::string why_no_counter(const PerfCounter& counter);

}  // namespace skep::kernel
