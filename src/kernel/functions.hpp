// The kernel's functions that may be probed.
#pragma once
#include <string>
#include <vector>

#include "kernel/session.hpp"

namespace skep::kernel {

/// Names, in the kernel's order, each once: tracefs's available_filter_functions, else
/// the functions of /proc/kallsyms. Errors: permission, unsupported.
/// `modules`: those of modules too.
Result<std::vector<std::string>> probeable_functions(Session& session, bool modules);

}  // namespace skep::kernel
