// pidfd_open(2), pidfd_getfd(2), getsockname(2), getpeername(2); the copy is closed at once.
#include "kit/socket.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

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

}  // namespace

bool look_at_socket(u32 pid, int descriptor, tool_addresses& out, u32& protocol) {
  const base::Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!process) return false;
  const base::Fd copy(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), descriptor, 0)));
  if (!copy) return false;
  int number = 0;
  socklen_t size = sizeof number;
  if (::getsockopt(copy.get(), SOL_SOCKET, SO_PROTOCOL, &number, &size) != 0) return false;
  protocol = static_cast<u32>(number);
  sockaddr_storage local{}, remote{};
  socklen_t local_size = sizeof local, remote_size = sizeof remote;
  if (::getsockname(copy.get(), reinterpret_cast<sockaddr*>(&local), &local_size) != 0) return false;
  if (local.ss_family != AF_INET && local.ss_family != AF_INET6) return false;
  take_end(local, out.local_port, out.local);
  out.family = local.ss_family;
  if (::getpeername(copy.get(), reinterpret_cast<sockaddr*>(&remote), &remote_size) == 0) {
    take_end(remote, out.remote_port, out.remote);
    const auto& in6 = reinterpret_cast<const sockaddr_in6&>(remote);
    out.family = remote.ss_family == AF_INET || IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr) ? AF_INET : AF_INET6;
  }
  return true;
}

}  // namespace skep::tools
