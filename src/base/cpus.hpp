// The CPUs of this machine, as the kernel counts them for per-CPU maps.
#pragma once
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <string_view>
#include <vector>

namespace skep::base {

/// Reads the kernel's list form: "0-3,8" is {0, 1, 2, 3, 8}. Errors: malformed.
Result<std::vector<u32>> parse_cpu_list(std::string_view text);

/// CPUs that may ever come online: the slots of a per-CPU map, as a count (highest number + 1).
u32 possible_cpus();

/// CPUs that are online now.
std::vector<u32> online_cpus();

}  // namespace skep::base
