// skep tcpaccept: connections that are accepted.
#include "kit/columns.hpp"
#include "kit/containers.hpp"
#include "kit/tcp_events.hpp"

namespace skep::tools {

const std::string_view tcpaccept_summary = "TCP connections that are accepted";

int tcpaccept(const Arguments& arguments) {
  Kit kit({.name = "tcpaccept",
           .about = "Traces accept() on TCP sockets.",
           .examples = "  skep tcpaccept               # of the whole machine\n"
                       "  skep tcpaccept -T            # with the time of day\n"
                       "  skep tcpaccept -P 80,443     # on these local ports\n"
                       "  skep tcpaccept -p 181        # by process 181",
           .user_engine = true});
  bool clock = false, times = false;
  std::string ports_text;
  kit.wants_pid();
  Containers containers(kit);
  kit.wants_family();
  kit.options().add_flag("-T,--time", clock, "the time of day");
  kit.options().add_flag("-t,--timestamp", times, "seconds since the first");
  kit.options().add_option("-P,--port", ports_text, "only on these local ports, such as 80,443");
  if (auto status = kit.parse(arguments)) return *status;
  if (auto opened = containers.open(); !opened) return kit.complain(opened.error());
  const auto ports = port_list(ports_text);
  if (!ports) return kit.complain("-P: " + ports.error().message);
  Columns columns(kit.output(), {{"TIME", "time", -8, clock},
                                 {"TIME(s)", "time_s", -8, times},
                                 {"PID", "pid", -7},
                                 {"COMM", "comm", -12, true, true},
                                 {"IP", "ip", -2},
                                 {"RADDR", "raddr", -16},
                                 {"RPORT", "rport", -5},
                                 {"LADDR", "laddr", -16},
                                 {"LPORT", "lport", -5}});
  on_tcp_events(kit, TCP_EVENT_ACCEPT, [&](const tcp_event& event) {
    const tool_addresses& ends = event.addresses;
    if (!is_listed(*ports, ends.local_port)) return;
    columns.row({clock_time(), Decimal{seconds_since_start(event.time_ns), 3}, event.pid, text(event.comm),
                 ip_version(ends), remote_address(ends), ends.remote_port, local_address(ends), ends.local_port});
  });
  return kit.run([&] { columns.heading(); });
}

}  // namespace skep::tools
