// skep tcpconnect: connections that are tried.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "kit/columns.hpp"
#include "kit/tcp_events.hpp"

namespace skep::tools {

const std::string_view tcpconnect_summary = "TCP connections that are tried, by connect()";

int tcpconnect(const Arguments& arguments) {
  Kit kit({.name = "tcpconnect",
           .about = "Traces connect() on TCP sockets, whether or not the connection is made.",
           .examples = "  skep tcpconnect              # of the whole machine\n"
                       "  skep tcpconnect -P 80,443    # to these ports only\n"
                       "  skep tcpconnect -L           # with the local port\n"
                       "  skep tcpconnect -c           # counted by address, at the end\n"
                       "  skep tcpconnect -- wget -q http://127.0.0.1:8080/",
           .user_engine = true});
  bool times = false, local_port = false, uids = false, count = false;
  std::string ports_text;
  kit.wants_pid();
  kit.wants_uid("-u,--uid");
  kit.wants_family();
  kit.options().add_flag("-t,--timestamp", times, "seconds since the first");
  kit.options().add_option("-P,--port", ports_text, "only to these ports, such as 80,443");
  kit.options().add_flag("-L,--lport", local_port, "a column for the local port");
  kit.options().add_flag("-U,--print-uid", uids, "a column for the user");
  kit.options().add_flag("-c,--count", count, "counts by address and port, printed at the end");
  if (auto status = kit.parse(arguments)) return *status;
  const auto ports = port_list(ports_text);
  if (!ports) return complain("-P: " + ports.error().message);

  Columns columns(kit.output(), {{"TIME(s)", "time_s", -8, times},
                                 {"UID", "uid", -5, uids},
                                 {"PID", "pid", -7},
                                 {"COMM", "comm", -12, true, true},
                                 {"IP", "ip", -2},
                                 {"SADDR", "saddr", -16},
                                 {"LPORT", "lport", -6, local_port},
                                 {"DADDR", "daddr", -16},
                                 {"DPORT", "dport", -6}});
  Columns counts(
      kit.output(),
      {{"LADDR", "laddr", -25}, {"RADDR", "raddr", -25}, {"RPORT", "rport", -20}, {"CONNECTS", "connects", -10}});
  std::map<std::tuple<std::string, std::string, u16>, u64> by_address;
  on_tcp_events(kit, TCP_EVENT_ATTEMPT, [&](const tcp_event& event) {
    const tool_addresses& ends = event.addresses;
    if (!is_listed(*ports, ends.remote_port)) return;
    if (count) {
      ++by_address[{local_address(ends), remote_address(ends), ends.remote_port}];
      return;
    }
    columns.row({Decimal{seconds_since_start(event.time_ns), 3}, event.uid, event.pid, text(event.comm),
                 ip_version(ends), local_address(ends), ends.local_port, remote_address(ends), ends.remote_port});
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
