// Helpers whose answer is a field of the run.
//
// A JIT that finds one of these functions among a program's helpers reads the field instead of calling; whoever puts
// another function in its place (a host with helpers of its own) is called. So the room of the machine needs to know
// neither the table of helpers nor their numbers.
#pragma once
#include "base/run.hpp"

namespace skep::base {

/// bpf_get_smp_processor_id(): Run::cpu, which is the thread's.
inline u64 cpu_of_run(void*, u64, u64, u64, u64, u64) noexcept { return current_cpu; }

}  // namespace skep::base
