// skep tcpretrans: segments that had to be sent again.
#include "tcpretrans/tcpretrans.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "kit/address.hpp"
#include "kit/columns.hpp"
#include "kit/kit.hpp"
#include "kit/tcp_state.hpp"

namespace skep::tools {

const std::string_view tcpretrans_summary = "TCP segments that are sent again";

int tcpretrans(const Arguments& arguments) {
  Kit kit({.name = "tcpretrans",
           .about = "Traces TCP retransmissions.",
           .examples = "  skep tcpretrans              # of the whole machine\n"
                       "  skep tcpretrans -l           # with tail loss probes\n"
                       "  skep tcpretrans -s           # with sequence numbers\n"
                       "  skep tcpretrans -c           # counted by connection, at the end"});
  bool sequence = false, probes = false, count = false;
  kit.wants_family();
  kit.options().add_flag("-s,--sequence", sequence, "a column for the sequence number");
  kit.options().add_flag("-l,--lossprobe", probes, "tail loss probes, too");
  kit.options().add_flag("-c,--count", count, "counts by connection, printed at the end");
  if (auto status = kit.parse(arguments)) return *status;
  kit.only_if(probes, "probe");
  Columns columns(kit.output(), {{"TIME", "time", -8},
                                 {"PID", "pid", -7},
                                 {"IP", "ip", -2},
                                 {"LADDR:LPORT", "local", -20},
                                 {"T>", "type", -2},
                                 {"RADDR:RPORT", "remote", -20},
                                 {"STATE", "state", sequence ? -12 : -4},
                                 {"SEQ", "seq", -10, sequence}});
  Columns counts(kit.output(),
                 {{"LADDR:LPORT", "local", -25}, {"RADDR:RPORT", "remote", -25}, {"RETRANSMITS", "count", -10}});
  std::map<std::pair<std::string, std::string>, u64> by_connection;
  kit.on_record<retransmit_event>("events", [&](const retransmit_event& event) {
    const tool_addresses& ends = event.addresses;
    const std::string local = fmt::format("{}:{}", local_address(ends), ends.local_port);
    const std::string remote = fmt::format("{}:{}", remote_address(ends), ends.remote_port);
    if (count) {
      ++by_connection[{local, remote}];
      return;
    }
    columns.row({clock_time(), event.pid, ip_version(ends), local, event.is_probe != 0 ? "L>" : "R>", remote,
                 tcp_state_name(event.state), event.sequence});
  });
  if (count)
    kit.on_summary([&] {
      counts.heading();
      std::vector<std::pair<u64, std::pair<std::string, std::string>>> rows;
      for (const auto& [ends, times] : by_connection) rows.emplace_back(times, ends);
      std::sort(rows.rbegin(), rows.rend());
      for (const auto& [times, ends] : rows) counts.row({ends.first, ends.second, times});
    });
  return kit.run([&] {
    if (!count) columns.heading();
  });
}

}  // namespace skep::tools
