// tracefs: where the kernel says which tracepoints exist and where trace_printk lines come out.
//
// It is usually mounted at /sys/kernel/tracing or /sys/kernel/debug/tracing. Where it is not (containers, minimal
// systems), a privileged process can still have its own: fsopen(2), fsconfig(2) and fsmount(2) give a mount that is
// in no directory tree. Nobody else sees it and it is gone with its descriptor, so there is nothing to clean up.
// Source: Documentation/trace/ftrace.rst, fsopen(2), fsmount(2).
#pragma once
#include <memory>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"

namespace skep::kernel {

/// An open tracefs. Paths are relative to its root.
class Tracefs {
 public:
  /// Finds the mounted one, else makes a private one. Errors: permission or unsupported, with the mount command.
  static Result<Tracefs> open();

  /// The number of a tracepoint event ("syscalls", "sys_enter_execve"), as perf_event_open(2) takes it.
  /// Errors: not_found, naming the nearest events of that category.
  Result<u64> event_id(std::string_view category, std::string_view name) const;

  /// Opens a file, close-on-exec. `flags` as open(2).
  Result<base::Fd> open_file(const std::string& relative, int flags) const;

  /// Names in a directory, sorted; at most `limit`.
  Result<std::vector<std::string>> list(const std::string& relative, std::size_t limit = 4096) const;

  /// Whether this is a mount of our own, in no directory tree.
  bool is_private() const noexcept { return private_; }

 private:
  Tracefs(base::Fd root, bool is_private) : root_(std::move(root)), private_(is_private) {}
  Result<std::string> read_small(const std::string& relative) const;

  base::Fd root_;
  bool private_ = false;
};

}  // namespace skep::kernel
