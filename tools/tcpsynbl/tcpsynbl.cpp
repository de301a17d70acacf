// skep tcpsynbl: how full listening sockets' queues are.
#include "kit/histogram.hpp"
#include "kit/kit.hpp"

namespace skep::tools {

const std::string_view tcpsynbl_summary = "how full the queues of listening TCP sockets are";

int tcpsynbl(const Arguments& arguments) {
  Kit kit({.name = "tcpsynbl",
           .about = "Shows the length of a listening socket's queue at each new connection, by the queue's limit.",
           .examples = "  skep tcpsynbl                # until Ctrl-C\n"
                       "  skep tcpsynbl -4             # IPv4 only"});
  bool four = false, six = false;
  const Option only_four = kit.options().add_flag("-4,--ipv4", four, "IPv4 only");
  kit.options().add_flag("-6,--ipv6", six, "IPv6 only")->excludes(only_four);
  if (auto status = kit.parse(arguments)) return *status;
  kit.only_if(!six, "ipv4");
  kit.only_if(!four, "ipv6");
  kit.on_summary([&] {
    const auto rows = kit.entries<u32, Log2Histogram>("queues");
    if (!rows) return note(rows.error().message);
    for (const auto& [limit, histogram] : *rows)
      print_log2(kit.output(), histogram.slots, "backlog", "backlog_max", std::to_string(limit));
  });
  return kit.run([&] { note("measuring queues of listening sockets; Ctrl-C ends", kit.has_command()); });
}

}  // namespace skep::tools
