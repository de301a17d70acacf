// Which events are asked for, and who gets them.
#include "kit/tcp_events.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "base/fd.hpp"

namespace skep::tools {
namespace {

ino_t own_network_namespace() {
  struct stat found{};
  return ::stat("/proc/self/ns/net", &found) == 0 ? found.st_ino : 0;
}

/// The address that a packet to `remote` would come from; nothing is sent. False: there is no way to it.
bool source_towards(sockaddr_in6& remote) {
  // Both forms of an address begin with family and port.
  const base::Fd socket(::socket(remote.sin6_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  socklen_t size = remote.sin6_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  return socket && ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&remote), size) == 0 &&
         ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&remote), &size) == 0;
}

}  // namespace

void look_up_local_address(tcp_event& event) {
  tool_addresses& ends = event.addresses;
  const bool failed = event.result < 0 && event.result != -EINPROGRESS;
  if (!failed || std::ranges::any_of(ends.local, [](u8 byte) { return byte != 0; })) return;
  static const ino_t ours = own_network_namespace();
  if (ours == 0 || event.network_namespace != ours) return;
  sockaddr_in6 address{};
  address.sin6_family = ends.family;
  address.sin6_port = htons(ends.remote_port);
  const bool is_four = ends.family == AF_INET;
  void* const bytes =
      is_four ? static_cast<void*>(&address.sin6_flowinfo) : &address.sin6_addr;  // where sockaddr_in has its own
  const std::size_t size = is_four ? 4 : 16;
  std::memcpy(bytes, ends.remote, size);
  if (source_towards(address)) std::memcpy(ends.local, bytes, size);
}

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
