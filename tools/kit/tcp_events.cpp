// What the kernel engine sends is whole. The user engine's events know what the call said; the rest is asked here.
#include "kit/tcp_events.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>

#include "kit/socket.hpp"

namespace skep::tools {
TcpEvents::TcpEvents(Kit& kit, u32 kinds, std::function<void(const tcp_event&)> handler)
    : kit_(kit), handler_(std::move(handler)) {
  // The user engine needs the beginning of a connection to know its end.
  const u32 begins = TCP_EVENT_CONNECT | TCP_EVENT_ACCEPT;
  const bool needs_begins = !kit.in_kernel() && (kinds & (TCP_EVENT_CLOSE | TCP_EVENT_END)) != 0;
  kit.set("wanted_kinds", needs_begins ? kinds | begins : kinds);
  kit.on_record<tcp_event>("events", [this, kinds](const tcp_event& sent) {
    tcp_event event = sent;
    if (!kit_.in_kernel()) complete(event);
    if (event.addresses.family != AF_INET && event.addresses.family != AF_INET6) return;
    if ((kinds & event.kind) != 0) handler_(event);
  });
}

void TcpEvents::complete(tcp_event& event) {
  const u64 key = u64{event.pid} << 32 | static_cast<u32>(event.descriptor);
  if ((event.kind & (TCP_EVENT_CLOSE | TCP_EVENT_END)) == 0) {
    tool_addresses now{};
    u32 protocol = 0;
    if (!look_at_socket(event.pid, event.descriptor, now, protocol)) return;
    // The descriptor may be another socket by now: what the call said must agree.
    const tool_addresses& said = event.addresses;
    const bool same = said.remote_port == 0 || (now.family == said.family && now.remote_port == said.remote_port);
    if (same && protocol != IPPROTO_TCP) event.addresses.family = 0;
    if (same && protocol == IPPROTO_TCP) known_[key] = event.addresses = now;
    return;
  }
  const auto found = known_.find(key);
  if (found == known_.end()) return;
  event.addresses = found->second;
  if (event.kind == TCP_EVENT_END) known_.erase(found);
}

Result<std::vector<u16>> port_list(const std::string& text) {
  std::vector<u16> ports;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    u16 port = 0;
    const auto [stop, error] = std::from_chars(text.data() + at, text.data() + end, port);
    if (error != std::errc() || stop != text.data() + end || port == 0)
      return fail(Code::invalid_argument, fmt::format("'{}': expected port numbers such as 80,443", text));
    ports.push_back(port);
    at = end + 1;
  }
  return ports;
}

bool is_listed(const std::vector<u16>& ports, u16 port) {
  return ports.empty() || std::find(ports.begin(), ports.end(), port) != ports.end();
}

}  // namespace skep::tools
