// skep tcptop: which connections move how much.
#include "tcptop/tcptop.h"

#include <fmt/format.h>

#include <algorithm>

#include "kit/address.hpp"
#include "kit/columns.hpp"
#include "kit/containers.hpp"
#include "kit/kit.hpp"
#include "kit/screen.hpp"

namespace skep::tools {

const std::string_view tcptop_summary = "TCP throughput by connection and process";

int tcptop(const Arguments& arguments) {
  Kit kit({.name = "tcptop",
           .about = "Shows the TCP connections that move the most, with their processes.",
           .examples = "  skep tcptop                  # every second, until Ctrl-C\n"
                       "  skep tcptop -C 5 3           # every five seconds, three times, one below the other\n"
                       "  skep tcptop -p 181           # of process 181"});
  Screen screen;
  kit.wants_pid();
  Containers containers(kit);
  kit.wants_family();
  kit.wants_interval(1);
  screen.wants_keep(kit);
  kit.options().add_flag("-S,--nosummary", screen.no_summary, "without the line of load averages");
  if (auto status = kit.parse(arguments)) return *status;
  if (auto opened = containers.open(); !opened) return kit.complain(opened.error());
  const auto print = [&](std::vector<std::pair<traffic_key, traffic>>& rows, int version) {
    const bool six = version == 6;
    Columns columns(kit.output(), {{"PID", "pid", -7},
                                   {"COMM", "comm", -12, true, true},
                                   {six ? "LADDR6" : "LADDR", "laddr", six ? -32 : -21},
                                   {six ? "RADDR6" : "RADDR", "raddr", six ? -32 : -21},
                                   {"RX_KB", "rx_kb", 6},
                                   {"TX_KB", "tx_kb", 6}});
    bool first = true;
    for (const auto& [key, moved] : rows) {
      if (ip_version(key.addresses) != version) continue;
      if (std::exchange(first, false)) {
        if (six && !kit.json()) kit.output().line("");
        columns.heading();
      }
      const tool_addresses& ends = key.addresses;
      columns.row({key.pid, text(key.comm), fmt::format("{}:{}", local_address(ends), ends.local_port),
                   fmt::format("{}:{}", remote_address(ends), ends.remote_port), moved.received / 1024,
                   moved.sent / 1024});
    }
  };
  kit.on_summary([&] {
    auto rows = kit.entries<traffic_key, traffic>("traffics", true);
    if (!rows) return note(rows.error().message);
    screen.begin(kit.output());
    std::sort(rows->begin(), rows->end(), [](const auto& a, const auto& b) {
      return a.second.sent + a.second.received > b.second.sent + b.second.received;
    });
    print(*rows, 4);
    print(*rows, 6);
  });
  return kit.run();
}

}  // namespace skep::tools
