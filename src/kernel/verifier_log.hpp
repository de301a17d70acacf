// Reading the kernel verifier's log: which line says why, and which C line it is about.
// The lines are read by catalog/kernel_log.hpp.
#pragma once
#include <optional>
#include <skep/spec.hpp>
#include <string>
#include <string_view>

namespace skep::kernel {

/// What a log says of a refusal.
struct Refusal {
  std::string reason;       ///< "R0 invalid mem access 'map_value_or_null'"
  std::string source;       ///< "hello.bpf.c:14: bpf_probe_read_kernel(&x, 8, p);" as the kernel has it, or ""
  std::optional<u32> insn;  ///< the last instruction it looked at
};

Refusal read_refusal(std::string_view log);

/// The message of an Error{rejected}: the reason, the instruction and the C line (the kernel's, else the program's own
/// line info).
std::string explain_rejection(std::string_view log, const ProgramSpec& program);

}  // namespace skep::kernel
