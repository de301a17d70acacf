// See socket_facts.hpp. pidfd_open(2), pidfd_getfd(2), getsockname(2), getpeername(2), socket(7), tcp(7).
#include "hook/socket_facts.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "base/fd.hpp"

namespace skep::hook {
namespace {

/// One end's address, to where the kernel has it: IPv4 in one word, IPv6 in 16 bytes, a mapped one in both.
void take_end(const sockaddr_storage& from, u16& wire_port, u32& four, shadow::in6_addr& six) noexcept {
  if (from.ss_family == AF_INET) {
    const auto& in = reinterpret_cast<const sockaddr_in&>(from);
    wire_port = in.sin_port;
    four = in.sin_addr.s_addr;
  } else if (from.ss_family == AF_INET6) {
    const auto& in6 = reinterpret_cast<const sockaddr_in6&>(from);
    wire_port = in6.sin6_port;
    std::memcpy(six.bytes, in6.sin6_addr.s6_addr, sizeof six.bytes);
    if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) std::memcpy(&four, in6.sin6_addr.s6_addr + 12, sizeof four);
  }
}

const in6_addr& as_in6(const shadow::in6_addr& address) noexcept {
  return reinterpret_cast<const in6_addr&>(address.bytes);
}

/// So the kernel fills it where an IPv6 socket has an address of its own (net/ipv6/af_inet6.c: LOOPBACK4_IPV6).
void mark_six(shadow::sock_common& common) noexcept {
  const in6_addr& six = as_in6(common.skc_v6_rcv_saddr);
  if (common.skc_family == AF_INET6 && !IN6_IS_ADDR_UNSPECIFIED(&six) && !IN6_IS_ADDR_V4MAPPED(&six))
    common.skc_rcv_saddr = htonl(0x7f000006);
}

int option_of(int socket, int option, int level = SOL_SOCKET) noexcept {
  int value = 0;
  socklen_t size = sizeof value;
  return ::getsockopt(socket, level, option, &value, &size) == 0 ? value : 0;
}

/// Options of IP as bits of inet_flags.
u64 flags_of(int socket) noexcept {
  constexpr std::pair<int, u32> bits[] = {{IP_FREEBIND, 11}, {IP_TRANSPARENT, 15}, {IP_BIND_ADDRESS_NO_PORT, 18}};
  u64 flags = 0;
  for (const auto& [option, bit] : bits) flags |= u64{option_of(socket, option, IPPROTO_IP) != 0} << bit;
  return flags;
}

void take_peer(shadow::sock_common& common, const SocketTarget& target) noexcept {
  common.skc_dport = target.port;
  common.skc_daddr = target.four;
  common.skc_v6_daddr = target.six;
}

void ask_ends(shadow::inet_sock& inet, int socket, const SocketTarget& target) noexcept {
  shadow::sock_common& common = inet.sk.__sk_common;
  sockaddr_storage end{};
  socklen_t size = sizeof end;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&end), &size) == 0)
    take_end(end, inet.inet_sport, common.skc_rcv_saddr, common.skc_v6_rcv_saddr);
  common.skc_num = ntohs(inet.inet_sport);
  mark_six(common);
  size = sizeof end;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&end), &size) == 0)
    take_end(end, common.skc_dport, common.skc_daddr, common.skc_v6_daddr);
  else if (target.family != 0)
    take_peer(common, target);
}

}  // namespace

SocketTarget target_of(const sockaddr_storage& address, u32 length) noexcept {
  SocketTarget target;
  if (address.ss_family == AF_INET && length >= sizeof(sockaddr_in)) {
    take_end(address, target.port, target.four, target.six);
    if (target.four == htonl(INADDR_ANY)) target.four = htonl(INADDR_LOOPBACK);
  } else if (address.ss_family == AF_INET6 && length >= offsetof(sockaddr_in6, sin6_scope_id)) {
    take_end(address, target.port, target.four, target.six);
    if (IN6_IS_ADDR_UNSPECIFIED(&as_in6(target.six))) target.six.bytes[15] = 1;
  } else {
    return target;
  }
  target.family = address.ss_family;
  return target;
}

bool is_mapped(const SocketTarget& target) noexcept {
  return target.family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&as_in6(target.six));
}

bool ask_socket(shadow::inet_sock& inet, u32 tgid, u32 descriptor, u64 inode, const SocketTarget& target) noexcept {
  const base::Fd process(static_cast<int>(::syscall(SYS_pidfd_open, tgid, 0)));
  if (!process) return false;
  const base::Fd copy(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), descriptor, 0)));
  struct stat found{};
  if (!copy || ::fstat(copy.get(), &found) != 0 || found.st_ino != inode) return false;
  const shadow::possible_net net = inet.sk.__sk_common.skc_net;
  inet = {};
  shadow::sock& sock = inet.sk;
  shadow::sock_common& common = sock.__sk_common;
  common.skc_net = net;
  sock.sk_protocol = static_cast<u16>(option_of(copy.get(), SO_PROTOCOL));
  sock.sk_type = static_cast<u16>(option_of(copy.get(), SO_TYPE));
  common.skc_family = static_cast<u16>(option_of(copy.get(), SO_DOMAIN));
  if (common.skc_family != AF_INET && common.skc_family != AF_INET6) return true;
  common.skc_reuse = option_of(copy.get(), SO_REUSEADDR) != 0;
  common.skc_reuseport = option_of(copy.get(), SO_REUSEPORT) != 0;
  if (common.skc_family == AF_INET6) common.skc_ipv6only = option_of(copy.get(), IPV6_V6ONLY, IPPROTO_IPV6) != 0;
  common.skc_bound_dev_if = option_of(copy.get(), SO_BINDTOIFINDEX);
  inet.inet_flags = flags_of(copy.get());
  ask_ends(inet, copy.get(), target);
  tcp_info info{};
  socklen_t size = sizeof info;
  if (sock.sk_protocol == IPPROTO_TCP && ::getsockopt(copy.get(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0)
    common.skc_state = info.tcpi_state;
  return true;
}

void take_source(shadow::inet_sock& inet, const SocketTarget& target) noexcept {
  if (target.family == 0) return;
  sockaddr_storage to{}, from{};
  socklen_t size = sizeof from;
  const bool is_four = target.family == AF_INET;
  to.ss_family = target.family;
  if (is_four) {
    auto& in = reinterpret_cast<sockaddr_in&>(to);
    in.sin_port = target.port;
    in.sin_addr.s_addr = target.four;
  } else {
    auto& in6 = reinterpret_cast<sockaddr_in6&>(to);
    in6.sin6_port = target.port;
    std::memcpy(in6.sin6_addr.s6_addr, target.six.bytes, sizeof target.six.bytes);
    in6.sin6_scope_id = static_cast<u32>(inet.sk.__sk_common.skc_bound_dev_if);
  }
  // No packet is sent: to connect a socket of datagrams is to look up the route.
  const base::Fd socket(::socket(target.family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const socklen_t length = is_four ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  if (!socket || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), length) != 0 ||
      ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&from), &size) != 0)
    return;
  shadow::sock_common& common = inet.sk.__sk_common;
  u16 port = 0;  // of the other socket
  take_end(from, port, common.skc_rcv_saddr, common.skc_v6_rcv_saddr);
  mark_six(common);
}

}  // namespace skep::hook
