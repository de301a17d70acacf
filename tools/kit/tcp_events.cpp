// Which events are asked for, and who gets them.
#include "kit/tcp_events.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace skep::tools {

void on_tcp_events(Kit& kit, u32 kinds, std::function<void(const tcp_event&)> handler) {
  kit.set("wanted_kinds", kinds);
  kit.on_record<tcp_event>("events", std::move(handler));
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
