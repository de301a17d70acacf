// What can be asked of a socket of another process.
//
// A copy of the descriptor (pidfd_getfd(2), Linux 5.6) answers for the socket itself and is closed at once. The copy is
// compared with the socket that was meant, for a descriptor can be another file's by now.
#pragma once
#include <sys/socket.h>

#include <skep/types.hpp>

#include "hook/shadow_layout.hpp"

namespace skep::hook {

/// Where connect() was asked to go; family 0: not known.
struct SocketTarget {
  u16 family = 0, port = 0;  ///< the port as on the wire
  u32 four = 0;
  shadow::in6_addr six{};
};
/// Reads what a call's `address` of `length` bytes says. AF_INET and AF_INET6 only; an address that means this host
/// is the one that the kernel takes for it.
SocketTarget target_of(const sockaddr_storage& address, u32 length) noexcept;
bool is_mapped(const SocketTarget& target) noexcept;  ///< IPv4 in IPv6

/// Fills `inet` (but skc_net) by asking the socket. What the socket does not say of its other end is `target`'s. False,
/// and nothing changed: the descriptor does not lead to the socket `inode` any more, or access is denied.
bool ask_socket(shadow::inet_sock& inet, u32 tgid, u32 descriptor, u64 inode, const SocketTarget& target) noexcept;

/// The address from which this machine would send to the target, as its routes are; 0s where there is none.
void take_source(shadow::inet_sock& inet, const SocketTarget& target) noexcept;

}  // namespace skep::hook
