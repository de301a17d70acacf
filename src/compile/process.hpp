// Runs a program without a shell and keeps what it printed.
#pragma once
#include <filesystem>
#include <skep/result.hpp>
#include <string>
#include <vector>

namespace skep::compile {

struct Finished {
  int exit_status = 0;  ///< as a shell says it: 128 + signal for a death by signal
  std::string output;   ///< standard output and standard error, in order; cut after 256 KiB
};

/// Runs `arguments[0]` (a path, not searched) and waits. Variables that would change what a compiler reads
/// (CPATH and its kin) are not passed on. Errors: io when it cannot be started.
Result<Finished> run_process(const std::vector<std::string>& arguments);

}  // namespace skep::compile
