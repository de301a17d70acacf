// What BCC's loader decides after compiling: where a function goes by its name, and where its parameters come from.
#pragma once
#include <skep/result.hpp>
#include <skep/spec.hpp>

namespace skep::compile {

/// The attach target that a function's name asks for ("kprobe__tcp_connect", "tracepoint__sched__sched_switch",
/// "syscall__execve"), or kind none.
AttachTarget target_of_name(std::string_view function);

/// Makes the programs of section skep.bcc ready; other programs are left as they are.
/// Errors: unsupported (a target this stage has no hook for), invalid_argument (impossible parameters).
Result<void> finish_bcc(ObjectSpec& spec);

}  // namespace skep::compile
