// skep tcpstates: how TCP sockets go through their states.
#include "tcpstates/tcpstates.h"

#include <fmt/format.h>
#include <unistd.h>

#include <optional>

#include "kit/address.hpp"
#include "kit/columns.hpp"
#include "kit/journal.hpp"
#include "kit/kit.hpp"
#include "kit/tcp_events.hpp"
#include "kit/tcp_state.hpp"

namespace skep::tools {

const std::string_view tcpstates_summary = "TCP state changes, with the time spent in each";

namespace {

/// BCC's fields, so that queries of the journal find both.
std::vector<Journal::Field> journal_fields(const state_event& event) {
  const tool_addresses& ends = event.addresses;
  const std::string family = ip_version(ends) == 6 ? "OBJECT_IPV6_" : "OBJECT_IPV4_";
  const std::string comm = printable(text(event.comm)), from = local_address(ends), to = remote_address(ends);
  const std::string old_state = tcp_state_name(static_cast<u32>(event.from)),
                    new_state = tcp_state_name(static_cast<u32>(event.to));
  std::vector<Journal::Field> fields = {{"SYSLOG_IDENTIFIER", "tcpstates"},
                                        {"PRIORITY", "5"},
                                        {"OBJECT_PID", std::to_string(event.pid)},
                                        {family + "SOURCE_ADDRESS", from},
                                        {"OBJECT_TCP_SOURCE_PORT", std::to_string(ends.local_port)},
                                        {family + "DESTINATION_ADDRESS", to},
                                        {"OBJECT_TCP_DESTINATION_PORT", std::to_string(ends.remote_port)},
                                        {"OBJECT_TCP_OLD_STATE", old_state},
                                        {"OBJECT_TCP_NEW_STATE", new_state},
                                        {"OBJECT_TCP_SPAN_TIME", std::to_string(event.spent_ns / 1000)},
                                        {"MESSAGE", fmt::format("{} {} {} → {} {} {} → {}", comm, from, ends.local_port,
                                                                to, ends.remote_port, old_state, new_state)}};
  if (::geteuid() != 0) fields.push_back({"OBJECT_COMM", comm});  // of root's entries the journal finds it itself
  return fields;
}

}  // namespace

int tcpstates(const Arguments& arguments) {
  Kit kit({.name = "tcpstates",
           .about = "Traces changes of TCP states. PID and COMM are of whoever ran then, which is often the idle task.",
           .examples = "  skep tcpstates               # of the whole machine\n"
                       "  skep tcpstates -T -w         # with the time of day, wide enough for IPv6\n"
                       "  skep tcpstates -L 80         # of this local port\n"
                       "  skep tcpstates -s            # comma-separated\n"
                       "  skep tcpstates -Y            # into the systemd journal, too"});
  bool clock = false, times = false, wide = false, commas = false, to_journal = false;
  std::string local_text, remote_text;
  kit.wants_family();
  kit.options().add_flag("-T,--time", clock, "the time of day");
  kit.options().add_flag("-t,--timestamp", times, "seconds since the first");
  kit.options().add_flag("-w,--wide", wide, "wide columns, for IPv6");
  kit.options().add_flag("-s,--csv", commas, "fields separated by commas");
  kit.options().add_flag("-Y,--journal", to_journal, "into the systemd journal, too");
  kit.options().add_option("-L,--localport", local_text, "only with these local ports, such as 80,443");
  kit.options().add_option("-D,--remoteport", remote_text, "only with these remote ports");
  if (auto status = kit.parse(arguments)) return *status;
  const auto local_ports = port_list(local_text), remote_ports = port_list(remote_text);
  if (!local_ports) return kit.complain("-L: " + local_ports.error().message);
  if (!remote_ports) return kit.complain("-D: " + remote_ports.error().message);
  std::optional<Journal> journal;
  if (to_journal) {
    auto opened = Journal::open();
    if (!opened) return kit.complain("-Y: " + opened.error().message);
    journal = *std::move(opened);
  }
  const int address_width = wide ? -26 : -15;
  Columns columns(kit.output(), {{"TIME", "time", -8, clock},
                                 {"TIME(s)", "time_s", -9, times},
                                 {"SKADDR", "skaddr", -16},
                                 {"C-PID", "pid", -5},
                                 {"C-COMM", "comm", wide ? -16 : -10, true, true},
                                 {"IP", "ip", -2, wide || commas},
                                 {"LADDR", "laddr", address_width},
                                 {"LPORT", "lport", -5},
                                 {"RADDR", "raddr", address_width},
                                 {"RPORT", "rport", -5},
                                 {"OLDSTATE", "oldstate", -11},
                                 {"->", "arrow", -2, !commas},
                                 {"NEWSTATE", "newstate", -11},
                                 {"MS", "ms"}});
  if (commas) columns.separate_by_commas();
  kit.on_record<state_event>("events", [&](const state_event& event) {
    const tool_addresses& ends = event.addresses;
    if (!is_listed(*local_ports, ends.local_port) || !is_listed(*remote_ports, ends.remote_port)) return;
    columns.row({clock_time(), Decimal{seconds_since_start(event.time_ns), 6}, fmt::format("{:x}", event.socket),
                 event.pid, text(event.comm), ip_version(ends), local_address(ends), ends.local_port,
                 remote_address(ends), ends.remote_port, tcp_state_name(static_cast<u32>(event.from)), "->",
                 tcp_state_name(static_cast<u32>(event.to)), Decimal{static_cast<double>(event.spent_ns) / 1e6, 3}});
    if (!journal) return;
    if (auto sent = journal->send(journal_fields(event)); !sent) kit.give_up(sent.error());
  });
  return kit.run([&] { columns.heading(); });
}

}  // namespace skep::tools
