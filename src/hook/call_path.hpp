// The file that a system call names, found as the kernel would find it for the calling task.
//
// Paths are looked up from the task's own directory, or the descriptor that it gave, or its root (openat2(2) with
// RESOLVE_IN_ROOT, Linux 5.6), so chroot and mount namespaces are followed. Three things differ: symbolic links in the
// middle of a relative path that lead to an absolute one are followed in our own root; permissions are ours; and a file
// system that a traced process serves (FUSE) is waited for, without end where that process waits for us.
#pragma once
#include <sys/stat.h>

#include <optional>
#include <string_view>

#include "base/fd.hpp"
#include "helper/call.hpp"
#include "hook/syscall_event.hpp"

namespace skep::hook {

class CallPath {
 public:
  /// What the call's first path says; nothing for calls without one, and where it cannot be read.
  void read(const SyscallEvent& event, helper::Task& task) noexcept;

  /// Whether the call asks for a file of that name: not for ".", not (but for directories) for "name/".
  bool has_name(bool of_directory) const noexcept;
  std::string_view name() const noexcept { return name_; }
  int directory() const noexcept { return directory_.get(); }
  /// The file itself, or with `follow` what a symbolic link leads to. Nothing: it is not there.
  std::optional<struct stat> find(bool follow) const noexcept;

 private:
  void open_directory(u32 tid, s32 from, std::string_view path) noexcept;
  base::Fd directory_;
  char text_[4096];
  std::string_view name_;
  bool has_slash_ = false;  ///< behind the name
};

}  // namespace skep::hook
