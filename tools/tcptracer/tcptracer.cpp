// skep tcptracer: TCP connections made, accepted and closed.
#include "kit/columns.hpp"
#include "kit/containers.hpp"
#include "kit/tcp_events.hpp"

namespace skep::tools {

const std::string_view tcptracer_summary = "TCP connections: made (C), accepted (A), closed (X)";

int tcptracer(const Arguments& arguments) {
  Kit kit({.name = "tcptracer",
           .about = "Traces TCP connections: made (C), accepted (A), closed (X).",
           .examples = "  skep tcptracer               # of the whole machine\n"
                       "  skep tcptracer -t -v         # with times, in words\n"
                       "  skep tcptracer -p 181 -4     # of one process, IPv4\n"
                       "  skep tcptracer -- curl -s http://127.0.0.1:8080/",
           .user_engine = true});
  bool times = false, verbose = false;
  u32 space = 0;
  kit.wants_pid();
  Containers containers(kit);
  kit.wants_family();
  kit.options().add_flag("-t,--timestamp", times, "seconds since the first");
  kit.options().add_option("-N,--netns", space, "only in this network namespace, by its number (kernel engine)");
  kit.options().add_flag("-v,--verbose", verbose, "words for the kinds, and the network namespace");
  if (auto status = kit.parse(arguments)) return *status;
  if (auto opened = containers.open(); !opened) return kit.complain(opened.error());
  if (space != 0 && !kit.in_kernel()) return kit.complain("-N: the user engine does not tell network namespaces");
  Columns columns(kit.output(), {{"TIME(s)", "time_s", -8, times},
                                 {verbose ? "TYPE" : "T", "type", verbose ? -12 : -2},
                                 {"PID", "pid", -6},
                                 {"COMM", "comm", -16},
                                 {"IP", "ip", -2},
                                 {"SADDR", "saddr", -16},
                                 {"DADDR", "daddr", -16},
                                 {"SPORT", "sport", -6},
                                 {"DPORT", "dport", -6},
                                 {"NETNS", "netns", -8, verbose}});
  on_tcp_events(kit, TCP_EVENT_CONNECT | TCP_EVENT_ACCEPT | TCP_EVENT_CLOSE, [&](const tcp_event& event) {
    if (space != 0 && event.network_namespace != space) return;
    const bool connects = event.kind == TCP_EVENT_CONNECT, accepts = event.kind == TCP_EVENT_ACCEPT;
    const char* kind = verbose ? (connects  ? "connect"
                                  : accepts ? "accept"
                                            : "close")
                               : (connects  ? "C"
                                  : accepts ? "A"
                                            : "X");
    const tool_addresses& ends = event.addresses;
    columns.row({Decimal{seconds_since_start(event.time_ns), 3}, kind, event.pid, text(event.comm), ip_version(ends),
                 local_address(ends), remote_address(ends), ends.local_port, ends.remote_port,
                 event.network_namespace});
  });
  return kit.run([&] { columns.heading(); });
}

}  // namespace skep::tools
