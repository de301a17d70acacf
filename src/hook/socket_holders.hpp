// Whether somebody still holds a socket, in whatever process.
//
// A descriptor that is closed is not the end of its connection where it was copied, inherited, or is on its way to
// another process. The system knows: it is asked by sock_diag(7) in our own network namespace, else by the table
// /proc/TID/net/tcp, which is the task's.
#pragma once
#include <skep/types.hpp>
#include <span>

#include "base/fd.hpp"
#include "hook/shadow_layout.hpp"

namespace skep::hook {

class SocketHolders {
 public:
  /// Whether a TCP socket is still held by somebody. `tid`: a task of its network namespace; `is_own`: that is ours.
  bool is_held(u64 inode, const shadow::inet_sock& inet, u32 tid, bool is_own) noexcept;

 private:
  enum class Answer : u8 { held, gone, unknown };
  bool can_ask() noexcept;
  Answer ask_system(u64 inode, const shadow::inet_sock& inet) noexcept;
  base::Fd netlink_;
  bool was_tried_ = false, can_ask_ = false;
};

/// Descriptors of a process that are sockets; how many were put into `found`.
u32 find_sockets(u32 tgid, std::span<u32> found) noexcept;

/// Whether a process other than `tgid` has a descriptor of the socket, as far as we may look.
bool is_held_elsewhere(u64 inode, u32 tgid) noexcept;

}  // namespace skep::hook
