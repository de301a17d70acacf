// Who may do what: this process's capabilities and the settings that close doors, as sentences.
//
// EPERM from bpf(2) or perf_event_open(2) says nothing by itself. The reasons are few: a capability is missing,
// a sysctl, lockdown, or locked-memory accounting on old kernels. This file looks at each and names the one at fault.
// Source: capabilities(7), kernel_lockdown(7), Documentation/admin-guide/sysctl/kernel.rst.
#pragma once
#include <skep/spec.hpp>
#include <skep/types.hpp>
#include <string>

#include "kernel/uapi.hpp"

namespace skep::kernel {

/// Numbers of capabilities(7).
enum class Capability : u8 { net_admin = 12, sys_admin = 21, sys_resource = 24, perfmon = 38, bpf = 39 };

/// Some capabilities.
class CapabilitySet {
 public:
  constexpr CapabilitySet() = default;
  explicit constexpr CapabilitySet(u64 bits) : bits_(bits) {}
  constexpr CapabilitySet(Capability one) : bits_(u64{1} << static_cast<u8>(one)) {}  // NOLINT: one is a set

  constexpr bool has(Capability one) const noexcept { return (bits_ >> static_cast<u8>(one) & 1) != 0; }
  constexpr bool empty() const noexcept { return bits_ == 0; }
  constexpr u64 bits() const noexcept { return bits_; }
  constexpr CapabilitySet without(CapabilitySet other) const noexcept { return CapabilitySet(bits_ & ~other.bits_); }
  constexpr bool operator==(const CapabilitySet&) const = default;

  bool may_bpf() const noexcept { return has(Capability::sys_admin) || has(Capability::bpf); }
  bool may_trace() const noexcept {
    return has(Capability::sys_admin) || (has(Capability::bpf) && has(Capability::perfmon));
  }

 private:
  u64 bits_ = 0;
};

constexpr CapabilitySet operator|(CapabilitySet a, CapabilitySet b) noexcept {
  return CapabilitySet(a.bits() | b.bits());
}
constexpr CapabilitySet operator|(Capability a, Capability b) noexcept { return CapabilitySet(a) | CapabilitySet(b); }

/// The effective ones of this process.
CapabilitySet capabilities();

/// What loading a program of this type, making a map of this type takes; CAP_SYS_ADMIN serves in place of each.
CapabilitySet needed_by(ProgramType type);
CapabilitySet needed_by(MapType type);

/// Whether this process lives in a user namespace that is not the first one: its capabilities then count in there only.
bool in_user_namespace();

/// "none", "integrity", "confidentiality", or "" where the kernel does not say.
std::string lockdown_mode();

/// Why a bpf(2) command that takes `more` may have been refused with EPERM, and who can change it: a few sentences.
std::string explain_refusal(uapi::Cmd cmd, CapabilitySet more = {});
/// The first of them, for what is no command: "This process lacks CAP_NET_ADMIN ..."; "" where it lacks none of
/// `needed`.
std::string explain_missing(CapabilitySet needed);

/// The same for perf_event_open(2) and its kind.
std::string explain_perf_refusal();

}  // namespace skep::kernel
