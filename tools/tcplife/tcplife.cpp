// skep tcplife: TCP connections from beginning to end, with bytes and duration.
#include "kit/columns.hpp"
#include "kit/tcp_events.hpp"

namespace skep::tools {

const std::string_view tcplife_summary = "TCP connections that ended: who, where, bytes, duration";

int tcplife(const Arguments& arguments) {
  Kit kit({.name = "tcplife",
           .about = "Traces TCP connections that end, with their bytes and duration.",
           .examples = "  skep tcplife                 # of the whole machine\n"
                       "  skep tcplife -T -w           # with the time of day, wide enough for IPv6\n"
                       "  skep tcplife -s -t           # comma-separated\n"
                       "  skep tcplife -D 80,443       # to these ports\n"
                       "  skep tcplife -- curl -s http://127.0.0.1:8080/",
           .user_engine = true});
  bool clock = false, times = false, wide = false, commas = false;
  std::string local_text, remote_text;
  kit.wants_pid();
  kit.wants_family();
  kit.options().add_flag("-T,--time", clock, "the time of day");
  kit.options().add_flag("-t,--timestamp", times, "seconds since the first");
  kit.options().add_flag("-w,--wide", wide, "wide columns, for IPv6");
  kit.options().add_flag("-s,--csv", commas, "fields separated by commas");
  kit.options().add_option("-L,--localport", local_text, "only with these local ports, such as 80,443");
  kit.options().add_option("-D,--remoteport", remote_text, "only with these remote ports");
  if (auto status = kit.parse(arguments)) return *status;
  const auto local_ports = port_list(local_text), remote_ports = port_list(remote_text);
  if (!local_ports) return kit.complain("-L: " + local_ports.error().message);
  if (!remote_ports) return kit.complain("-D: " + remote_ports.error().message);
  const int address_width = wide ? -26 : -15, byte_width = wide ? 6 : 5;
  Columns columns(kit.output(), {{"TIME", "time", -8, clock},
                                 {"TIME(s)", "time_s", -9, times},
                                 {"PID", "pid", -5},
                                 {"COMM", "comm", wide ? -16 : -10, true, true},
                                 {"IP", "ip", -2, wide || commas},
                                 {"LADDR", "laddr", address_width},
                                 {"LPORT", "lport", -5},
                                 {"RADDR", "raddr", address_width},
                                 {"RPORT", "rport", -5},
                                 {"TX_KB", "tx_kb", byte_width},
                                 {"RX_KB", "rx_kb", byte_width},
                                 {"MS", "ms"}});
  if (commas) columns.separate_by_commas();
  on_tcp_events(kit, TCP_EVENT_END, [&](const tcp_event& event) {
    const tool_addresses& ends = event.addresses;
    if (!is_listed(*local_ports, ends.local_port) || !is_listed(*remote_ports, ends.remote_port)) return;
    columns.row({clock_time(), Decimal{seconds_since_start(event.time_ns), 6}, event.pid, text(event.comm),
                 ip_version(ends), local_address(ends), ends.local_port, remote_address(ends), ends.remote_port,
                 event.sent / 1024, event.received / 1024, Decimal{static_cast<double>(event.duration_ns) / 1e6, 2}});
  });
  return kit.run([&] { columns.heading(); });
}

}  // namespace skep::tools
