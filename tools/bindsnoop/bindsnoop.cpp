// skep bindsnoop: which processes take which addresses.
#include "bindsnoop/bindsnoop.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "kit/address.hpp"
#include "kit/columns.hpp"
#include "kit/containers.hpp"
#include "kit/kit.hpp"
#include "kit/tcp_events.hpp"

namespace skep::tools {

const std::string_view bindsnoop_summary = "bind() calls: who takes which address and port";

namespace {

std::string protocol_name(u32 number) {
  switch (number) {
    case 0:
      return "-";  // the socket could not be looked at
    case 1:
      return "ICMP";
    case 6:
      return "TCP";
    case 17:
      return "UDP";
    case 132:
      return "SCTP";
    case 136:
      return "UDPL";
    case 255:
      return "RAW";
    default:
      return std::to_string(number);
  }
}

std::string option_letters(u32 options) {
  std::string out = "FTNRr";
  for (std::size_t i = 0; i < out.size(); ++i)
    if ((options >> i & 1) == 0) out[i] = '.';
  return out;
}

}  // namespace

int bindsnoop(const Arguments& arguments) {
  Kit kit({.name = "bindsnoop",
           .about =
               "Traces bind() on IPv4 and IPv6 sockets. OPTS: FREEBIND, TRANSPARENT, bind address No port, REUSEADDR, "
               "reusepoRt.",
           .examples = "  skep bindsnoop               # of the whole machine\n"
                       "  skep bindsnoop -P 80,81      # to these ports\n"
                       "  skep bindsnoop -E -w         # failed ones too, wide enough for IPv6\n"
                       "  skep bindsnoop -- python3 -m http.server",
           .user_engine = true});
  bool times = false, wide = false, uids = false, errors = false, count = false;
  std::string ports_text;
  kit.wants_pid();
  Containers containers(kit);
  kit.wants_uid("-u,--uid");
  kit.options().add_flag("-t,--timestamp", times, "seconds since the first");
  kit.options().add_flag("-w,--wide", wide, "wide columns, for IPv6");
  kit.options().add_option("-P,--port", ports_text, "only to these ports, such as 80,81");
  kit.options().add_flag("-E,--errors", errors, "those that failed, too, with a column for the error");
  kit.options().add_flag("-U,--print-uid", uids, "a column for the user");
  kit.options().add_flag("--count", count, "counts by address and port, printed at the end");
  if (auto status = kit.parse(arguments)) return *status;
  if (auto opened = containers.open(); !opened) return kit.complain(opened.error());
  const auto ports = port_list(ports_text);
  if (!ports) return kit.complain("-P: " + ports.error().message);
  kit.set("with_failures", errors);
  Columns columns(kit.output(), {{"TIME(s)", "time_s", -9, times},
                                 {"UID", "uid", 6, uids},
                                 {"RC", "rc", wide ? -25 : 3, errors},
                                 {"PID", "pid", wide ? 10 : 8},
                                 {"COMM", "comm", -12, true, true},
                                 {"PROT", "protocol", -4},
                                 {"ADDR", "addr", wide ? -39 : -15},
                                 {"PORT", "port", -5},
                                 {"OPTS", "opts", 5},
                                 {"IF", "if", 2}});
  Columns counts(kit.output(), {{"LADDR", "addr", -32}, {"LPORT", "port", 20}, {"BINDS", "count", 10}});
  std::map<std::pair<std::string, u16>, u64> by_address;
  kit.on_record<bind_event>("events", [&](const bind_event& event) {
    if (!is_listed(*ports, event.addresses.local_port)) return;
    if (count) {
      ++by_address[{local_address(event.addresses), event.addresses.local_port}];
      return;
    }
    const Cell result =
        wide && event.result < 0 ? Cell(std::string(::strerrordesc_np(-event.result))) : Cell(event.result);
    columns.row({Decimal{seconds_since_start(event.time_ns), 6}, event.uid, result, event.pid, text(event.comm),
                 protocol_name(event.protocol), local_address(event.addresses), event.addresses.local_port,
                 event.protocol != 0 ? option_letters(event.options) : std::string("-"), event.device});
  });
  if (count)
    kit.on_summary([&] {
      counts.heading();
      for (const auto& [address, times_seen] : by_address) counts.row({address.first, address.second, times_seen});
    });
  return kit.run([&] {
    if (!count) columns.heading();
  });
}

}  // namespace skep::tools
