// From a target (uprobe/FILE:FUNCTION, usdt/FILE:PROVIDER:NAME) to places in a file, and the context of a hit: pt_regs.
#pragma once
#include <optional>
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <vector>

#include "hook/syscall_event.hpp"
#include "spec/usdt.hpp"

namespace skep::hook {

struct ProbePlan {
  std::vector<ProbeSite> sites;  ///< functions of the same name may lie in several places, static probes often do
  std::vector<u64> cookies;      ///< by site
  /// Of a static probe: cookies are numbers here, until the descriptions have places in the program's map.
  std::vector<spec::UsdtSpec> descriptions;
  bool at_return = false;
  std::string note;  ///< a line for the user: which of a pattern's functions are left out
  u32 context_bytes = sizeof(PtRegs);
};

/// The plan of a uprobe, uretprobe (also .multi, and patterns) or usdt target; nothing for all others. FILE is a path,
/// a program in PATH, or a library's name where the dynamic linker looks. Errors: not_found (file, function),
/// invalid_argument (the target's form), unsupported (an instruction that cannot be probed, an argument that cannot be
/// read), malformed.
Result<std::optional<ProbePlan>> plan_probe(const AttachTarget& target);

/// The memory of one context; lives as long as the program that runs on it.
class ProbeContext {
 public:
  void* fill(SyscallEvent& frame) noexcept;

 private:
  PtRegs registers_;
};

}  // namespace skep::hook
