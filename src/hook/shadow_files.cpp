// See shadow_files.hpp. stat(2) through /proc, pidfd_open(2), pidfd_getfd(2), getsockname(2), getpeername(2).
#include "hook/shadow_files.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
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

void fill_sock(shadow::inet_sock& inet, u32 tgid, u32 descriptor) noexcept {
  shadow::sock& sock = inet.sk;
  const base::Fd process(static_cast<int>(::syscall(SYS_pidfd_open, tgid, 0)));
  if (!process) return;
  const base::Fd copy(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), descriptor, 0)));
  if (!copy) return;
  shadow::sock_common& common = sock.__sk_common;
  sock.sk_protocol = static_cast<u16>(option_of(copy.get(), SO_PROTOCOL));
  sock.sk_type = static_cast<u16>(option_of(copy.get(), SO_TYPE));
  common.skc_family = static_cast<u16>(option_of(copy.get(), SO_DOMAIN));
  if (common.skc_family != AF_INET && common.skc_family != AF_INET6) return;
  common.skc_reuse = option_of(copy.get(), SO_REUSEADDR) != 0;
  common.skc_reuseport = option_of(copy.get(), SO_REUSEPORT) != 0;
  if (common.skc_family == AF_INET6) common.skc_ipv6only = option_of(copy.get(), IPV6_V6ONLY, IPPROTO_IPV6) != 0;
  common.skc_bound_dev_if = option_of(copy.get(), SO_BINDTOIFINDEX);
  inet.inet_flags = flags_of(copy.get());
  sockaddr_storage end{};
  socklen_t size = sizeof end;
  u16 wire_port = 0;
  if (::getsockname(copy.get(), reinterpret_cast<sockaddr*>(&end), &size) == 0)
    take_end(end, wire_port, common.skc_rcv_saddr, common.skc_v6_rcv_saddr);
  common.skc_num = ntohs(wire_port);
  // So the kernel fills it where an IPv6 socket has an address of its own (net/ipv6/af_inet6.c: LOOPBACK4_IPV6).
  const auto& six = *reinterpret_cast<const in6_addr*>(common.skc_v6_rcv_saddr.bytes);
  if (common.skc_family == AF_INET6 && !IN6_IS_ADDR_UNSPECIFIED(&six) && !IN6_IS_ADDR_V4MAPPED(&six))
    common.skc_rcv_saddr = htonl(0x7f000006);
  size = sizeof end;
  if (::getpeername(copy.get(), reinterpret_cast<sockaddr*>(&end), &size) == 0)
    take_end(end, common.skc_dport, common.skc_daddr, common.skc_v6_daddr);
  tcp_info info{};
  size = sizeof info;
  if (sock.sk_protocol == IPPROTO_TCP && ::getsockopt(copy.get(), IPPROTO_TCP, TCP_INFO, &info, &size) == 0)
    common.skc_state = info.tcpi_state;
}

}  // namespace

shadow::Pointer ShadowFiles::file(u32 tgid, u32 descriptor, shadow::Pointer net) noexcept {
  for (u32 i = 0; i < used_ && i < most_files; ++i)
    if (facts_[i].tgid == tgid && facts_[i].descriptor == descriptor) return address_of(i);
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%u/fd/%u", tgid, descriptor);
  struct stat found{};
  if (::stat(path, &found) != 0) return 0;
  const u32 index = used_ % most_files;  // a program that reads more than these finds the last ones
  ++used_;
  const bool is_socket = S_ISSOCK(found.st_mode);
  facts_[index] = {.tgid = tgid, .descriptor = descriptor, .has_socket = is_socket};
  Block& made = blocks_[index] = Block{};
  const shadow::Pointer at = address_of(index);
  made.inode.i_mode = static_cast<u16>(found.st_mode);
  made.file.f_inode = at + offsetof(Block, inode);
  if (is_socket) {
    made.file.private_data = at + offsetof(Block, socket);
    made.socket.sk = at + offsetof(Block, sock);
    made.sock.sk.__sk_common.skc_net.net = net;
  }
  return at;
}

void ShadowFiles::fill(u64 offset, u32 size) noexcept {
  const u64 index = offset / sizeof(Block);
  if (index >= most_files || index >= used_) return;
  Facts& facts = facts_[index];
  if (!facts.has_socket || offset % sizeof(Block) + size <= offsetof(Block, sock)) return;
  facts.has_socket = false;
  fill_sock(blocks_[index].sock, facts.tgid, facts.descriptor);
}

}  // namespace skep::hook
