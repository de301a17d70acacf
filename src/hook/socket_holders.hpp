// Whether somebody still holds a socket, in whatever process.
//
// A descriptor that is closed is not the end of its connection where it was copied, inherited, or is on its way to
// another process. The system knows: it is asked by sock_diag(7) in our own network namespace, else by the table
// /proc/TID/net/tcp, which is the task's.
#pragma once
#include <array>
#include <bitset>
#include <skep/types.hpp>

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

/// Whether a task's network namespace is that of this process.
bool is_in_own_net(u32 tid) noexcept;

/// The sockets of a process that is about to end, each once, and who else holds them. Links of /proc are read, files
/// are not touched: they may be of a file system that does not answer.
class EndingSockets {
 public:
  static constexpr u32 most = 1024;
  explicit EndingSockets(u32 tgid) noexcept;

  u32 count() const noexcept { return count_; }
  u32 descriptor(u32 index) const noexcept { return descriptors_[index]; }
  /// Whether another process has a descriptor of it, as far as we may look. They are looked through once, when one
  /// asks.
  bool is_held_elsewhere(u32 index) noexcept;

 private:
  void look() noexcept;
  u32 tgid_, count_ = 0;
  bool has_looked_ = false;
  std::array<u32, most> descriptors_;
  std::array<u64, most> inodes_;
  std::bitset<most> held_;
};

}  // namespace skep::hook
