// Turns EPERM into the name of what is missing.
#include "kernel/access.hpp"

#include <fmt/core.h>

#include <charconv>

#include "base/mapped_file.hpp"
#include "kernel/features.hpp"

namespace skep::kernel {

namespace {

constexpr int cap_net_admin = 12, cap_sys_admin = 21, cap_sys_resource = 24, cap_perfmon = 38, cap_bpf = 39;

constexpr std::string_view who_can_help =
    "Run as root, or let an administrator grant them once: `setcap cap_bpf,cap_perfmon+ep /path/to/skep`. "
    "The user engine (--backend user) needs no privileges";

std::string missing(const Capabilities& have, bool trace) {
  std::string names;
  if (!have.bpf) names = "CAP_BPF";
  if (trace && !have.perfmon) names += names.empty() ? "CAP_PERFMON" : " and CAP_PERFMON";
  return names;
}

int sysctl(const char* path) {
  const auto text = base::read_text(path, 64);
  int value = -1;
  if (text) std::from_chars(text->data(), text->data() + text->size(), value);
  return value;
}

}  // namespace

Capabilities capabilities() {
  Capabilities have;
  const auto status = base::read_text("/proc/self/status", 1u << 16);
  if (!status) return have;
  const auto at = status->find("\nCapEff:");
  if (at == std::string::npos) return have;
  const auto begin = status->find_first_not_of(" \t", at + 8);
  if (begin == std::string::npos) return have;
  u64 mask = 0;
  std::from_chars(status->data() + begin, status->data() + status->size(), mask, 16);
  const auto has = [mask](int bit) { return (mask >> bit & 1) != 0; };
  have.sys_admin = has(cap_sys_admin);
  have.bpf = has(cap_bpf);
  have.perfmon = has(cap_perfmon);
  have.net_admin = has(cap_net_admin);
  have.sys_resource = has(cap_sys_resource);
  return have;
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

std::string explain_refusal(uapi::Cmd cmd) {
  const Capabilities have = capabilities();
  if (in_user_namespace())
    return "This process lives in a user namespace, whose capabilities bpf(2) takes only together with a BPF token "
           "(Linux 6.9): whoever sets the namespace up mounts a bpffs for it with delegate_cmds, delegate_maps, "
           "delegate_progs and delegate_attachs, and LIBBPF_BPF_TOKEN_PATH names it where it is not /sys/fs/bpf. The "
           "user engine (--backend user) needs no privileges";
  const bool trace =
      cmd == uapi::Cmd::prog_load || cmd == uapi::Cmd::raw_tracepoint_open || cmd == uapi::Cmd::link_create;
  if (trace ? !have.may_trace() : !have.may_bpf()) {
    const int unprivileged = sysctl("/proc/sys/kernel/unprivileged_bpf_disabled");
    std::string door = unprivileged > 0 ? fmt::format(" (sysctl kernel.unprivileged_bpf_disabled is {})", unprivileged)
                                        : std::string();
    return fmt::format("This needs {} or CAP_SYS_ADMIN, which this process lacks{}. {}", missing(have, trace), door,
                       who_can_help);
  }
  const std::string lockdown = lockdown_mode();
  if (!lockdown.empty() && lockdown != "none")
    return fmt::format(
        "The process has the capabilities; the kernel is locked down ({}; /sys/kernel/security/lockdown), which can "
        "refuse this. It is set at boot (lockdown= on the kernel command line, or Secure Boot)",
        lockdown);
  constexpr u32 first_with_memcg_accounting = 5u << 16 | 11u << 8;
  if (!have.sys_resource && Features::version_code() < first_with_memcg_accounting)
    return "The process has the capabilities; a kernel before 5.11 also charges locked memory (`ulimit -l`, raising it "
           "needs CAP_SYS_RESOURCE), and a security module (LSM) or container policy can refuse this";
  return "The process has the capabilities, so a security module (LSM), a container's seccomp policy or this kernel's "
         "configuration refuses it; whoever runs the host decides that";
}

std::string explain_perf_refusal() {
  const Capabilities have = capabilities();
  if (!have.sys_admin && !have.perfmon)
    return fmt::format(
        "perf_event_open(2) needs CAP_PERFMON or CAP_SYS_ADMIN here (sysctl kernel.perf_event_paranoid is {}). {}",
        sysctl("/proc/sys/kernel/perf_event_paranoid"), who_can_help);
  const std::string lockdown = lockdown_mode();
  if (lockdown == "confidentiality") return "The kernel is locked down (confidentiality), which forbids tracing";
  return "The process has CAP_PERFMON; a security module (LSM) or a container's seccomp policy refuses "
         "perf_event_open(2)";
}

}  // namespace skep::kernel
