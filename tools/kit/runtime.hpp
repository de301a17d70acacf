// Where the runtime of a language lies: the files with static probes of a provider (python, hotspot, ruby, ...).
#pragma once
#include <skep/result.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace skep::tools {

/// Of a process: among the files that it has mapped as code. Of a command: its program (a script's interpreter), the
/// libraries that this names, and Java's virtual machine, which its launcher opens by itself. Empty: there are none.
/// Errors: not_found (no such process or command), permission.
Result<std::vector<std::string>> files_with_probes(std::string_view provider, int pid,
                                                   const std::vector<std::string>& command);

}  // namespace skep::tools
