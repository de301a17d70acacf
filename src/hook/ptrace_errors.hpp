// Why ptrace refused, as a sentence that says what to do.
#pragma once
#include <skep/result.hpp>
#include <vector>

namespace skep::hook {

/// The error of attaching to `tid`: who traces it already, Yama, another user, or a seccomp policy.
Error ptrace_error(int tid, int error_number);
/// The process that traces `tid`, or 0.
int tracer_of(int tid);
/// Thread ids of a process. Errors: not_found.
Result<std::vector<int>> threads_of(int pid);

}  // namespace skep::hook
