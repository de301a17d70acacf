// Names of what a loaded kernel program calls: its helper calls are addresses relative to one symbol.
#pragma once
#include <skep/insn.hpp>
#include <span>
#include <string>
#include <unordered_map>

namespace skep::inspect {

/// For each call instruction of a kernel program (by its immediate): the function's name from /proc/kallsyms.
/// Empty where the kernel hides its addresses.
std::unordered_map<s32, std::string> kernel_call_names(std::span<const Insn> insns);

}  // namespace skep::inspect
