// skep tcpconnect: connections that are tried.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "kit/choice.hpp"
#include "kit/columns.hpp"
#include "kit/containers.hpp"
#include "kit/tcp_events.hpp"
#include "tcpconnect/names.hpp"
#include "tcpconnect/tcpconnect.h"

namespace skep::tools {

const std::string_view tcpconnect_summary = "TCP connections that are tried, by connect()";

namespace {

/// Programs and maps that look at answers of name servers.
void leave_out_names(Kit& kit, bool are_wanted) {
  if (are_wanted) return;
  for (const ProgramSpec& program : kit.spec().programs)
    if (program.name.find("_names_") != std::string::npos) kit.only_if(false, stem_of(program.name));
  kit.set_map_size("receivings", 1);
}

void on_connections(Kit& kit, Names& names, std::function<void(const tcp_event&)> handler) {
  kit.set("wanted_kinds", u32{TCP_EVENT_ATTEMPT});
  kit.on_bytes("events", sizeof(tcp_event), [&, handler = std::move(handler)](std::span<const std::byte> bytes) {
    tcp_event event;
    std::memcpy(&event, bytes.data(), sizeof event);
    if (event.kind == TCP_EVENT_NAMES) return names.learn(bytes.subspan(sizeof event), event.time_ns);
    if (!kit.in_kernel()) look_up_local_address(event);
    handler(event);
  });
}

}  // namespace

int tcpconnect(const Arguments& arguments) {
  Kit kit({.name = "tcpconnect",
           .about = "Traces connect() on TCP sockets, whether or not the connection is made.",
           .examples = "  skep tcpconnect              # of the whole machine\n"
                       "  skep tcpconnect -P 80,443    # to these ports only\n"
                       "  skep tcpconnect -L           # with the local port\n"
                       "  skep tcpconnect -c           # counted by address, at the end\n"
                       "  skep tcpconnect -d           # with the names that were asked for\n"
                       "  skep tcpconnect -- wget -q http://127.0.0.1:8080/",
           .user_engine = true});
  bool times = false, local_port = false, uids = false, count = false, queries = false;
  std::string ports_text;
  kit.wants_pid();
  Containers containers(kit);
  kit.wants_uid("-u,--uid");
  kit.wants_family();
  kit.options().add_flag("-t,--timestamp", times, "seconds since the first");
  kit.options().add_option("-P,--port", ports_text, "only to these ports, such as 80,443");
  kit.options().add_flag("-L,--lport", local_port, "a column for the local port");
  kit.options().add_flag("-U,--print-uid", uids, "a column for the user");
  const Option counts_only =
      kit.options().add_flag("-c,--count", count, "counts by address and port, printed at the end");
  kit.options()
      .add_flag("-d,--dns", queries, "a column for the name whose address a name server answered last")
      ->excludes(counts_only);
  if (auto status = kit.parse(arguments)) return *status;
  if (auto opened = containers.open(); !opened) return kit.complain(opened.error());
  const auto ports = port_list(ports_text);
  if (!ports) return kit.complain("-P: " + ports.error().message);

  Columns columns(kit.output(), {{"TIME(s)", "time_s", -8, times},
                                 {"UID", "uid", -5, uids},
                                 {"PID", "pid", -7},
                                 {"COMM", "comm", -12, true, true},
                                 {"IP", "ip", -2},
                                 {"SADDR", "saddr", -16},
                                 {"LPORT", "lport", -6, local_port},
                                 {"DADDR", "daddr", -16},
                                 {"DPORT", "dport", -6},
                                 {"QUERY", "query", 0, queries}});
  Columns counts(
      kit.output(),
      {{"LADDR", "laddr", -25}, {"RADDR", "raddr", -25}, {"RPORT", "rport", -20}, {"CONNECTS", "connects", -10}});
  std::map<std::tuple<std::string, std::string, u16>, u64> by_address;
  Names names;
  leave_out_names(kit, queries);
  on_connections(kit, names, [&](const tcp_event& event) {
    const tool_addresses& ends = event.addresses;
    if (!is_listed(*ports, ends.remote_port)) return;
    if (count) {
      ++by_address[{local_address(ends), remote_address(ends), ends.remote_port}];
      return;
    }
    columns.row({Decimal{seconds_since_start(event.time_ns), 3}, event.uid, event.pid, text(event.comm),
                 ip_version(ends), local_address(ends), ends.local_port, remote_address(ends), ends.remote_port,
                 queries ? names.query(remote_address(ends), event.time_ns) : std::string()});
  });
  if (count)
    kit.on_summary([&] {
      counts.heading();
      std::vector<std::pair<u64, std::tuple<std::string, std::string, u16>>> rows;
      for (const auto& [ends, times_seen] : by_address) rows.emplace_back(times_seen, ends);
      std::sort(rows.rbegin(), rows.rend());
      for (const auto& [times_seen, ends] : rows)
        counts.row({std::get<0>(ends), std::get<1>(ends), std::get<2>(ends), times_seen});
    });
  return kit.run([&] {
    if (count)
      note("counting connections; Ctrl-C ends", kit.has_command());
    else
      columns.heading();
  });
}

}  // namespace skep::tools
