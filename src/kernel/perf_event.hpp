// perf_event_open(2) as a Result, and the kernel's kprobe event source.
#pragma once
#include <optional>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <string>

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

}  // namespace skep::kernel
