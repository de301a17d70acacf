// skep solisten: which processes begin to listen.
#include "solisten/solisten.h"

#include <fmt/format.h>

#include "kit/address.hpp"
#include "kit/columns.hpp"
#include "kit/kit.hpp"

namespace skep::tools {

const std::string_view solisten_summary = "listen() calls: who listens where, with which queue";

int solisten(const Arguments& arguments) {
  Kit kit({.name = "solisten",
           .about = "Traces listen() on IPv4 and IPv6 sockets.",
           .examples = "  skep solisten                # of the whole machine\n"
                       "  skep solisten --show-netns   # with the network namespace\n"
                       "  skep solisten -- python3 -m http.server",
           .user_engine = true});
  bool show_namespace = false;
  u64 space = 0;
  kit.wants_pid();
  kit.options().add_flag("--show-netns", show_namespace, "a column for the network namespace");
  kit.options().add_option("-n,--netns", space, "only in this network namespace, by its number");
  if (auto status = kit.parse(arguments)) return *status;
  Columns columns(kit.output(), {{"PID", "pid", -7},
                                 {"COMM", "comm", -12, true, true},
                                 {"NETNS", "netns", -12, show_namespace},
                                 {"PROTO", "proto", -6},
                                 {"BACKLOG", "backlog", -8},
                                 {"PORT", "port", -5},
                                 {"ADDR", "addr", -39}});
  kit.on_record<listen_event>("events", [&](const listen_event& event) {
    const u64 where = event.network_namespace;
    if (space != 0 && where != space) return;
    const char* protocol = event.protocol == 6 ? "TCP" : event.protocol == 17 ? "UDP" : "UNK";
    columns.row({event.pid, text(event.comm), where, fmt::format("{}v{}", protocol, ip_version(event.addresses)),
                 event.backlog, event.addresses.local_port, local_address(event.addresses)});
  });
  return kit.run([&] { columns.heading(); });
}

}  // namespace skep::tools
