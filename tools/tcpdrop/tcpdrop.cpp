// skep tcpdrop: packets of TCP connections that the kernel drops, and where.
#include "tcpdrop/tcpdrop.h"

#include <fmt/format.h>

#include <map>

#include "btf/btf.hpp"
#include "kit/address.hpp"
#include "kit/columns.hpp"
#include "kit/kit.hpp"
#include "kit/stacks.hpp"
#include "kit/tcp_state.hpp"

namespace skep::tools {

const std::string_view tcpdrop_summary = "TCP packets that the kernel drops: why, and by which way";

namespace {

/// The kernel's own names of reasons: they have other numbers in every version.
std::map<s64, std::string> drop_reasons() {
  std::map<s64, std::string> out;
  const auto types = btf::Btf::from_file("/sys/kernel/btf/vmlinux");
  if (!types) return out;
  const auto id = (*types)->find("skb_drop_reason", btf::Kind::enum_);
  if (!id) return out;
  for (const btf::Enumerator& one : (*types)->enumerators((*types)->type(*id))) {
    std::string name(one.name);
    for (const std::string_view prefix : {"SKB_DROP_REASON_", "SKB_"})
      if (name.starts_with(prefix)) {
        name.erase(0, prefix.size());
        break;
      }
    out.emplace(one.value, name);
  }
  return out;
}

std::string flag_names(u32 flags) {
  constexpr std::array<const char*, 8> names = {"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"};
  std::string out;
  for (std::size_t i = 0; i < names.size(); ++i)
    if ((flags >> i & 1) != 0) out += (out.empty() ? "" : "|") + std::string(names[i]);
  return out;
}

}  // namespace

int tcpdrop(const Arguments& arguments) {
  Kit kit({.name = "tcpdrop",
           .about = "Traces packets of TCP connections that the kernel drops, with the reason and the stack.",
           .examples = "  skep tcpdrop                 # of the whole machine\n"
                       "  skep tcpdrop -4              # IPv4 only"});
  kit.wants_family();
  if (auto status = kit.parse(arguments)) return *status;
  const auto reasons = drop_reasons();
  kit.set("has_reasons", !reasons.empty());
  for (const auto& [value, name] : reasons)
    if (name == "CONSUMED") kit.set("reason_consumed", static_cast<s32>(value));
  Stacks stacks({.offset = true});
  Columns columns(kit.output(), {{"TIME", "time", -8},
                                 {"PID", "pid", -7},
                                 {"IP", "ip", -2},
                                 {"SADDR:SPORT", "source", -20},
                                 {">", "arrow", 1, !kit.json()},
                                 {"DADDR:DPORT", "destination", -20},
                                 {"STATE (FLAGS)", "state"},
                                 {"REASON", "reason"}});
  kit.on_record<drop_event>("events", [&](const drop_event& event) {
    const tool_addresses& ends = event.addresses;
    const auto reason = reasons.find(event.reason);
    columns.row({clock_time(), event.pid, ip_version(ends), fmt::format("{}:{}", local_address(ends), ends.local_port),
                 ">", fmt::format("{}:{}", remote_address(ends), ends.remote_port),
                 fmt::format("{} ({})", tcp_state_name(event.state), flag_names(event.flags)),
                 reason != reasons.end() ? reason->second : std::string("-")});
    if (kit.json()) return;
    const std::vector<u64> frames(event.stack, event.stack + std::max(0, event.stack_bytes) / 8);
    for (const StackLine& frame : stacks.kernel(frames)) kit.output().line("\t" + frame.name);
    kit.output().line("");
  });
  return kit.run([&] { columns.heading(); });
}

}  // namespace skep::tools
