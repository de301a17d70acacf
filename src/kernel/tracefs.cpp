// Finding, privately mounting and reading tracefs.
#include "kernel/tracefs.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/nearest.hpp"
#include "base/tracefs_root.hpp"

namespace skep::kernel {

namespace {

bool plain_name(std::string_view name) {
  return !name.empty() && name[0] != '.' && name.find('/') == std::string_view::npos;
}

}  // namespace

Result<Tracefs> Tracefs::open() {
  bool is_private = false;
  if (auto root = base::open_tracefs(is_private)) return Tracefs(std::move(root), is_private);
  const int reason = errno;
  if (reason == ENODEV)
    return fail(Code::unsupported, "this kernel has no tracefs (CONFIG_TRACING is off), so it has no tracepoint events",
                reason);
  for (const char* mounted : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"})
    if (::access(mounted, R_OK | X_OK) != 0 && errno == EACCES)
      return fail(
          Code::permission,
          fmt::format("{} may be read by root only (or with CAP_DAC_READ_SEARCH), and tracepoints are numbered in "
                      "there. An administrator can open it to a group: `mount -o remount,gid=GROUP,mode=750 "
                      "{}`; raw_tracepoint and tp_btf programs do without it",
                      mounted, mounted),
          EACCES);
  return fail(reason == EPERM ? Code::permission : Code::unsupported,
              "tracefs is not mounted and this process may not mount its own (CAP_SYS_ADMIN; kernel 5.2 or later). "
              "An administrator can mount it: `mount -t tracefs tracefs /sys/kernel/tracing`",
              reason);
}

Result<base::Fd> Tracefs::open_file(const std::string& relative, int flags) const {
  base::Fd fd(::openat(root_.get(), relative.c_str(), flags | O_CLOEXEC));
  if (!fd) return tl::unexpected(base::os_error("tracefs: " + relative));
  return fd;
}

Result<std::string> Tracefs::read_small(const std::string& relative) const {
  const auto fd = SKEP_TRY(open_file(relative, O_RDONLY));
  char buffer[4096];
  const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
  if (got < 0) return tl::unexpected(base::os_error("tracefs: " + relative));
  return std::string(buffer, static_cast<std::size_t>(got));
}

Result<u64> Tracefs::event_id(std::string_view category, std::string_view name) const {
  if (!plain_name(category) || !plain_name(name))
    return fail(
        Code::invalid_argument,
        fmt::format("tracepoint \"{}/{}\": expected CATEGORY/NAME, such as syscalls/sys_enter_execve", category, name));
  const auto text = read_small(fmt::format("events/{}/{}/id", category, name));
  if (!text && text.error().code != Code::not_found) return tl::unexpected(text.error());
  if (!text) {
    const auto events = list(fmt::format("events/{}", category));
    if (!events)
      return fail(Code::not_found,
                  fmt::format("this kernel has no tracepoint category \"{}\" (see tracefs events/)", category));
    const std::vector<std::string_view> names(events->begin(), events->end());
    const auto near = base::nearest(name, names);
    return fail(Code::not_found,
                fmt::format("this kernel has no tracepoint {}/{}{}", category, name,
                            near.empty() ? std::string() : fmt::format("; did you mean {}/{}?", category, near)));
  }
  u64 id = 0;
  if (std::from_chars(text->data(), text->data() + text->size(), id).ec != std::errc())
    return fail(Code::malformed, fmt::format("tracefs events/{}/{}/id: expected a number", category, name));
  return id;
}

Result<std::vector<std::string>> Tracefs::list(const std::string& relative, std::size_t limit) const {
  auto fd = SKEP_TRY(open_file(relative, O_RDONLY | O_DIRECTORY));
  DIR* directory = ::fdopendir(fd.get());
  if (directory == nullptr) return tl::unexpected(base::os_error("tracefs: " + relative));
  fd.release();  // closedir owns it now
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_name[0] == '.') continue;
    if (names.size() >= limit) break;
    names.emplace_back(entry->d_name);
  }
  ::closedir(directory);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace skep::kernel
