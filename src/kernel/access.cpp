// Turns EPERM into the name of what is missing.
#include "kernel/access.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

#include "base/mapped_file.hpp"
#include "kernel/features.hpp"

namespace skep::kernel {

namespace {

constexpr std::string_view user_engine_needs_none = "The user engine (--backend user) needs no privileges";

/// "CAP_BPF and CAP_PERFMON", or as setcap(8) has it: "cap_bpf,cap_perfmon".
std::string names_of(CapabilitySet set, bool for_setcap) {
  constexpr std::pair<Capability, std::string_view> names[] = {{Capability::bpf, "BPF"},
                                                               {Capability::perfmon, "PERFMON"},
                                                               {Capability::net_admin, "NET_ADMIN"},
                                                               {Capability::sys_resource, "SYS_RESOURCE"},
                                                               {Capability::sys_admin, "SYS_ADMIN"}};
  std::string text;
  for (const auto& [capability, name] : names)
    if (set.has(capability)) text.append(text.empty() ? "" : for_setcap ? "," : " and ").append("CAP_").append(name);
  if (for_setcap) std::ranges::transform(text, text.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
  return text;
}

/// What everybody needs for a command, whatever it is about.
CapabilitySet needed_by(uapi::Cmd cmd) {
  using enum Capability;
  switch (cmd) {
#define SKEP_BPF_COMMAND(name, number, printed, needs) \
  case uapi::Cmd::name:                                \
    return needs;
#include "kernel/commands.def"
#undef SKEP_BPF_COMMAND
  }
  return bpf;
}

/// Commands that are part of running a program, which the user engine does without privileges.
bool is_part_of_a_run(uapi::Cmd cmd) {
  return cmd == uapi::Cmd::prog_load || cmd == uapi::Cmd::btf_load || cmd == uapi::Cmd::map_create ||
         cmd == uapi::Cmd::link_create || cmd == uapi::Cmd::raw_tracepoint_open;
}

int sysctl(const char* path) {
  const auto text = base::read_text(path, 64);
  int value = -1;
  if (text) std::from_chars(text->data(), text->data() + text->size(), value);
  return value;
}

}  // namespace

CapabilitySet capabilities() {
  const auto status = base::read_text("/proc/self/status", 1u << 16);
  if (!status) return {};
  const auto at = status->find("\nCapEff:");
  if (at == std::string::npos) return {};
  const auto begin = status->find_first_not_of(" \t", at + 8);
  if (begin == std::string::npos) return {};
  u64 mask = 0;
  std::from_chars(status->data() + begin, status->data() + status->size(), mask, 16);
  return CapabilitySet(mask);
}

CapabilitySet needed_by(ProgramType type) {
  CapabilitySet needed = Capability::bpf;
#define SKEP_PROGRAM_NEEDS(name, capability) \
  if (type == ProgramType::name) needed = needed | Capability::capability;
#include "kernel/rights.def"
  return needed;
}

CapabilitySet needed_by(MapType type) {
  CapabilitySet needed = Capability::bpf;
#define SKEP_MAP_NEEDS(name, capability) \
  if (type == MapType::name) needed = needed | Capability::capability;
#include "kernel/rights.def"
  return needed;
}

bool in_user_namespace() {
  // The first one maps every number to itself: "0 0 4294967295".
  const auto map = base::read_text("/proc/self/uid_map", 4096);
  if (!map) return false;  // a kernel without user namespaces
  u32 fields[3] = {};
  const char* at = map->data();
  const char* const end = at + map->size();
  for (u32& field : fields) {
    while (at != end && *at == ' ') ++at;
    at = std::from_chars(at, end, field).ptr;
  }
  return !(fields[0] == 0 && fields[1] == 0 && fields[2] == ~u32{0});
}

std::string lockdown_mode() {
  const auto text = base::read_text("/sys/kernel/security/lockdown", 256);
  if (!text) return {};
  const auto open = text->find('['), close = text->find(']');
  if (open == std::string::npos || close == std::string::npos || close < open) return {};
  return text->substr(open + 1, close - open - 1);
}

std::string explain_missing(CapabilitySet needed) {
  constexpr u32 first_with_small_capabilities = 5u << 16 | 8u << 8;
  const CapabilitySet have = capabilities();
  if (have.has(Capability::sys_admin)) return {};
  if (Features::version_code() < first_with_small_capabilities)
    return "This process lacks CAP_SYS_ADMIN, in whose place kernels before 5.8 take nothing less. Run as root";
  const CapabilitySet missing = needed.without(have);
  if (missing.empty()) return {};
  if (missing.has(Capability::sys_admin))
    return "This process lacks CAP_SYS_ADMIN, and the kernel takes nothing less for this. Run as root";
  const int unprivileged = sysctl("/proc/sys/kernel/unprivileged_bpf_disabled");
  const bool is_shut = missing.has(Capability::bpf) && unprivileged > 0;
  // What it has already stays in the line: setcap(8) replaces all that a file grants.
  const CapabilitySet useful = Capability::bpf | Capability::perfmon | Capability::net_admin;
  const CapabilitySet grant = needed | useful.without(useful.without(have));
  return fmt::format(
      "This process lacks {} (CAP_SYS_ADMIN serves as well{}). Run as root, or let an administrator grant what is "
      "needed once: `setcap {}+ep /path/to/skep`",
      names_of(missing, false),
      is_shut ? fmt::format("; sysctl kernel.unprivileged_bpf_disabled is {}", unprivileged) : std::string(),
      names_of(grant, true));
}

std::string explain_refusal(uapi::Cmd cmd, CapabilitySet more) {
  if (in_user_namespace())
    return "This process lives in a user namespace, whose capabilities bpf(2) takes only together with a BPF token "
           "(Linux 6.9): whoever sets the namespace up mounts a bpffs for it with delegate_cmds, delegate_maps, "
           "delegate_progs and delegate_attachs, and LIBBPF_BPF_TOKEN_PATH names it where it is not /sys/fs/bpf. The "
           "user engine (--backend user) needs no privileges";
  if (const std::string missing = explain_missing(needed_by(cmd) | more); !missing.empty())
    return is_part_of_a_run(cmd) ? fmt::format("{}. {}", missing, user_engine_needs_none) : missing;
  const std::string lockdown = lockdown_mode();
  if (!lockdown.empty() && lockdown != "none")
    return fmt::format(
        "The process has the capabilities; the kernel is locked down ({}; /sys/kernel/security/lockdown), which can "
        "refuse this. It is set at boot (lockdown= on the kernel command line, or Secure Boot)",
        lockdown);
  constexpr u32 first_with_memcg_accounting = 5u << 16 | 11u << 8;
  if (!capabilities().has(Capability::sys_resource) && Features::version_code() < first_with_memcg_accounting)
    return "The process has the capabilities; a kernel before 5.11 also charges locked memory (`ulimit -l`, raising it "
           "needs CAP_SYS_RESOURCE), and a security module (LSM) or container policy can refuse this";
  return "The process has the capabilities, so a security module (LSM), a container's seccomp policy or this kernel's "
         "configuration refuses it; whoever runs the host decides that";
}

std::string explain_perf_refusal() {
  if (const std::string missing = explain_missing(Capability::perfmon); !missing.empty())
    return fmt::format("{} (sysctl kernel.perf_event_paranoid is {}). {}", missing,
                       sysctl("/proc/sys/kernel/perf_event_paranoid"), user_engine_needs_none);
  const std::string lockdown = lockdown_mode();
  if (lockdown == "confidentiality") return "The kernel is locked down (confidentiality), which forbids tracing";
  return "The process has CAP_PERFMON; a security module (LSM) or a container's seccomp policy refuses "
         "perf_event_open(2)";
}

}  // namespace skep::kernel
