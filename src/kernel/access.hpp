// Who may do what: this process's capabilities and the settings that close doors, as sentences.
//
// EPERM from bpf(2) or perf_event_open(2) says nothing by itself. The reasons are few: a capability is missing,
// a sysctl, lockdown, or locked-memory accounting on old kernels. This file looks at each and names the one at fault.
// Source: capabilities(7), kernel_lockdown(7), Documentation/admin-guide/sysctl/kernel.rst.
#pragma once
#include <skep/types.hpp>
#include <string>

#include "kernel/uapi.hpp"

namespace skep::kernel {

/// The effective capabilities of this process that matter here.
struct Capabilities {
  bool sys_admin = false;
  bool bpf = false;      ///< since 5.8; before that CAP_SYS_ADMIN did it
  bool perfmon = false;  ///< since 5.8
  bool net_admin = false;
  bool sys_resource = false;

  bool may_bpf() const noexcept { return sys_admin || bpf; }
  bool may_trace() const noexcept { return sys_admin || (bpf && perfmon); }
};

Capabilities capabilities();

/// Whether this process lives in a user namespace that is not the first one: its capabilities then count in there only.
bool in_user_namespace();

/// "none", "integrity", "confidentiality", or "" where the kernel does not say.
std::string lockdown_mode();

/// Why a bpf(2) command may have been refused with EPERM, and who can change it: one or two sentences.
std::string explain_refusal(uapi::Cmd cmd);

/// The same for perf_event_open(2) and its kind.
std::string explain_perf_refusal();

}  // namespace skep::kernel
