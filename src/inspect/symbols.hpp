// Names of what a loaded kernel program calls: its helper calls are addresses relative to one symbol.
#pragma once
#include <skep/inspect.hpp>
#include <string>
#include <unordered_map>
#include <vector>

namespace skep::inspect {

/// Names of the functions that a kernel program calls; empty where the kernel hides its addresses.
struct CallNames {
  std::unordered_map<s32, std::string> helpers;  ///< by the call's immediate
  std::vector<std::string> subprograms;          ///< by the index in ProgramCode::jited_addresses
};

CallNames kernel_call_names(const ProgramCode& code);

}  // namespace skep::inspect
