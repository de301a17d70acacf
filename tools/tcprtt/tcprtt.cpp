// skep tcprtt: round-trip times of TCP connections as histograms.
#include "tcprtt/tcprtt.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include "kit/address.hpp"
#include "kit/columns.hpp"
#include "kit/histogram.hpp"
#include "kit/kit.hpp"

namespace skep::tools {

const std::string_view tcprtt_summary = "round-trip times of TCP connections, as histograms";

namespace {

struct RttOptions {
  double interval_s = 0;
  bool clock = false, milliseconds = false, by_local = false, by_remote = false, extension = false;
  std::string local, remote;
  u16 local_port = 0, remote_port = 0;
};

Result<rtt_key> address_of(const std::string& text) {
  rtt_key key{};
  if (text.empty()) return key;
  for (const int family : {AF_INET, AF_INET6})
    if (::inet_pton(family, text.c_str(), key.address) == 1) {
      key.family = static_cast<__u16>(family);
      return key;
    }
  return fail(Code::invalid_argument, fmt::format("'{}' is no IPv4 or IPv6 address", text));
}

void print_rtts(Kit& kit, const RttOptions& options) {
  const auto rows = kit.entries<rtt_key, rtt_totals>("rtts", true);
  if (!rows) return note(rows.error().message);
  if (options.clock && !kit.json()) kit.output().line(clock_time());
  const char* unit = options.milliseconds ? "msecs" : "usecs";
  const bool by = options.by_local || options.by_remote;
  for (const auto& [key, totals] : *rows) {
    std::string label = by ? address_text(key.family, key.address) : "All Addresses";
    if (options.extension && totals.count != 0) label += fmt::format(" [AVG {}]", totals.total / totals.count);
    const char* name = options.by_remote ? "Remote Address" : options.by_local ? "Local Address" : "Addresses";
    print_log2(kit.output(), slots_of(totals.slots), unit, name, label);
  }
  if (!kit.json()) kit.output().line("");
}

void add_options(Kit& kit, RttOptions& options) {
  auto& app = kit.options();
  kit.wants_family();
  kit.wants_duration("-d,--duration");
  app.add_option("-i,--interval", options.interval_s, "seconds between outputs; without it one at the end")
      ->check(above_zero());
  app.add_flag("-T,--timestamp", options.clock, "the time of day of each output");
  app.add_flag("-m,--milliseconds", options.milliseconds, "milliseconds, not microseconds");
  app.add_option("-p,--lport", options.local_port, "only of this local port");
  app.add_option("-P,--rport", options.remote_port, "only of this remote port");
  app.add_option("-a,--laddr", options.local, "only of this local address");
  app.add_option("-A,--raddr", options.remote, "only of this remote address");
  const Option local = app.add_flag("-b,--byladdr", options.by_local, "a histogram for each local address");
  app.add_flag("-B,--byraddr", options.by_remote, "a histogram for each remote address")->excludes(local);
  app.add_flag("-e,--extension", options.extension, "averages, too");
}

}  // namespace

int tcprtt(const Arguments& arguments) {
  Kit kit({.name = "tcprtt",
           .about = "Shows the smoothed round-trip times of TCP connections as histograms.",
           .examples = "  skep tcprtt                  # until Ctrl-C\n"
                       "  skep tcprtt -i 1 -d 10       # every second, for ten\n"
                       "  skep tcprtt -m -B            # milliseconds, for each remote address\n"
                       "  skep tcprtt -P 443 -e        # of connections to port 443, with averages"});
  RttOptions options;
  add_options(kit, options);
  if (auto status = kit.parse(arguments)) return *status;
  const auto local = address_of(options.local), remote = address_of(options.remote);
  if (!local) return kit.complain("-a: " + local.error().message);
  if (!remote) return kit.complain("-A: " + remote.error().message);
  kit.set("wanted_local", *local);
  kit.set("wanted_remote", *remote);
  kit.set("wanted_local_port", options.local_port);
  kit.set("wanted_remote_port", options.remote_port);
  kit.set("milliseconds", options.milliseconds);
  kit.set("by", u32{options.by_local ? 1u : options.by_remote ? 2u : 0u});
  kit.print_every(options.interval_s);
  kit.on_summary([&] { print_rtts(kit, options); });
  return kit.run([&] { note("measuring round-trip times; Ctrl-C ends", kit.has_command()); });
}

}  // namespace skep::tools
