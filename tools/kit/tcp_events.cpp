// The tracee's socket is looked at through a copy of its descriptor (pidfd_getfd(2), Linux 5.6), which needs no more
// rights than tracing it does. The process may have closed it by then: the address is then left as the call had it.
#include "kit/tcp_events.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/fd.hpp"

namespace skep::tools {
namespace {

void take_end(const sockaddr_storage& address, __u16& port, __u8* bytes) {
  if (address.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(address);
    port = ntohs(in.sin_port);
    std::memcpy(bytes, &in.sin_addr, 4);
    return;
  }
  const auto& in6 = reinterpret_cast<const sockaddr_in6&>(address);
  port = ntohs(in6.sin6_port);
  const bool mapped = IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr);
  std::memcpy(bytes, in6.sin6_addr.s6_addr + (mapped ? 12 : 0), mapped ? 4 : 16);
}

/// What the descriptor of another process is connected to. False: it is no TCP socket, or not to be seen.
bool look_at_socket(u32 pid, int descriptor, tool_addresses& out) {
  const base::Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return false;
  const base::Fd copy(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), descriptor, 0)));
  if (!copy) return false;
  int protocol = 0;
  socklen_t size = sizeof protocol;
  if (::getsockopt(copy.get(), SOL_SOCKET, SO_PROTOCOL, &protocol, &size) != 0 || protocol != IPPROTO_TCP) return false;
  sockaddr_storage local{}, remote{};
  socklen_t local_size = sizeof local, remote_size = sizeof remote;
  if (::getsockname(copy.get(), reinterpret_cast<sockaddr*>(&local), &local_size) != 0) return false;
  if (local.ss_family != AF_INET && local.ss_family != AF_INET6) return false;
  take_end(local, out.local_port, out.local);
  if (::getpeername(copy.get(), reinterpret_cast<sockaddr*>(&remote), &remote_size) == 0) {
    take_end(remote, out.remote_port, out.remote);
    const auto& in6 = reinterpret_cast<const sockaddr_in6&>(remote);
    out.family = remote.ss_family == AF_INET || IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr) ? AF_INET : AF_INET6;
  }
  return true;
}

}  // namespace

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
    if (look_at_socket(event.pid, event.descriptor, event.addresses)) known_[key] = event.addresses;
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
