// The usual mount points first, each checked by the magic number of its file system; then fsopen(2) and its kin.
#include "base/tracefs_root.hpp"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace skep::base {
namespace {

constexpr long tracefs_magic = 0x74726163;                   // TRACEFS_MAGIC
constexpr unsigned fsopen_cloexec = 1, fsmount_cloexec = 1;  // FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC
constexpr unsigned fsconfig_create = 6;                      // FSCONFIG_CMD_CREATE
constexpr unsigned attr_nosuid_nodev_noexec = 2 | 4 | 8;     // MOUNT_ATTR_*

Fd open_mounted() {
  for (const char* path : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
    Fd fd(::open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct statfs status{};
    if (fd && ::fstatfs(fd.get(), &status) == 0 && status.f_type == tracefs_magic) return fd;
  }
  return {};
}

/// A mount in no directory tree, as a directory descriptor; empty with errno set where the kernel refuses.
Fd open_detached() {
  const Fd context(static_cast<int>(::syscall(SYS_fsopen, "tracefs", fsopen_cloexec)));
  if (!context) return {};
  if (::syscall(SYS_fsconfig, context.get(), fsconfig_create, nullptr, nullptr, 0) != 0) return {};
  return Fd(static_cast<int>(::syscall(SYS_fsmount, context.get(), fsmount_cloexec, attr_nosuid_nodev_noexec)));
}

}  // namespace

Fd open_tracefs(bool& is_private) {
  is_private = false;
  if (Fd root = open_mounted()) return root;
  is_private = true;
  return open_detached();
}

}  // namespace skep::base
