// See call_path.hpp.
#include "hook/call_path.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace skep::hook {
namespace {

struct PathCall {
  long number;
  s8 from;  ///< the argument that is a directory's descriptor; below 0: none
  s8 path;
};
constexpr PathCall path_calls[] = {{SYS_open, -1, 0},  {SYS_openat, 0, 1},  {SYS_openat2, 0, 1}, {SYS_creat, -1, 0},
                                   {SYS_mknod, -1, 0}, {SYS_mknodat, 0, 1}, {SYS_mkdir, -1, 0},  {SYS_mkdirat, 0, 1},
                                   {SYS_rmdir, -1, 0}, {SYS_unlink, -1, 0}, {SYS_unlinkat, 0, 1}};

/// A string of the task; its length, or nothing where it is not all there, or too long.
std::optional<std::size_t> read_string(helper::Task& task, u64 address, char* to, std::size_t size) noexcept {
  constexpr u64 step = 256;  // steps end where pages do
  for (std::size_t at = 0; at < size;) {
    const u64 from = address + at;
    const std::size_t length = std::min<std::size_t>(step - from % step, size - at);
    if (task.read_user(to + at, from, static_cast<u32>(length)) != 0) return std::nullopt;
    if (const void* end = std::memchr(to + at, 0, length); end != nullptr)
      return static_cast<std::size_t>(static_cast<const char*>(end) - to);
    at += length;
  }
  return std::nullopt;
}

}  // namespace

void CallPath::open_directory(u32 tid, s32 from, std::string_view path) noexcept {
  char base[64], text[sizeof text_];
  const bool is_absolute = path.starts_with('/');
  if (is_absolute)
    std::snprintf(base, sizeof base, "/proc/%u/root", tid);
  else if (from == AT_FDCWD)
    std::snprintf(base, sizeof base, "/proc/%u/cwd", tid);
  else
    std::snprintf(base, sizeof base, "/proc/%u/fd/%d", tid, from);
  constexpr int how = O_PATH | O_DIRECTORY | O_CLOEXEC;
  directory_ = base::Fd(::open(base, how));
  path.remove_prefix(std::min(path.find_first_not_of('/'), path.size()));
  if (!directory_ || path.empty()) return;
  std::memcpy(text, path.data(), path.size());
  text[path.size()] = 0;
  open_how in_root{.flags = how, .mode = 0, .resolve = RESOLVE_IN_ROOT};
  int found =
      is_absolute ? static_cast<int>(::syscall(SYS_openat2, directory_.get(), text, &in_root, sizeof in_root)) : -1;
  if (found < 0) found = ::openat(directory_.get(), text, how);
  directory_ = base::Fd(found);
}

void CallPath::read(const SyscallEvent& event, helper::Task& task) noexcept {
  const auto* call =
      std::ranges::find_if(path_calls, [&](const PathCall& one) { return one.number == static_cast<long>(event.nr); });
  if (call == std::end(path_calls)) return;
  const auto length = read_string(task, event.args[static_cast<std::size_t>(call->path)], text_, sizeof text_);
  if (!length) return;
  std::string_view path(text_, *length);
  while (path.size() > 1 && path.ends_with('/')) {
    has_slash_ = true;
    path.remove_suffix(1);
  }
  const auto slash = path.rfind('/');
  const auto begin = slash == std::string_view::npos ? 0 : slash + 1;
  name_ = path.substr(begin);
  const s32 from = call->from < 0 ? AT_FDCWD : static_cast<s32>(event.args[static_cast<std::size_t>(call->from)]);
  open_directory(event.tid, from, path.substr(0, begin));
}

bool CallPath::has_name(bool of_directory) const noexcept {
  return directory_ && !name_.empty() && name_ != "." && name_ != ".." && (of_directory || !has_slash_);
}

std::optional<struct stat> CallPath::find(bool follow) const noexcept {
  struct stat found{};
  char text[256];
  if (!directory_ || name_.empty() || name_.size() >= sizeof text) return std::nullopt;
  std::memcpy(text, name_.data(), name_.size());
  text[name_.size()] = 0;
  if (::fstatat(directory_.get(), text, &found, follow ? 0 : AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
  return found;
}

}  // namespace skep::hook
