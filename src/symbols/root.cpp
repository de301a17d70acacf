// Opening files below a root. See root.hpp.
#include "symbols/root.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#include <cerrno>
#include <string>

namespace skep::symbols {

namespace {

/// openat2 came with Linux 5.6. Before it, an absolute link inside the tree would lead into ours: without links, then.
int open_below(int root, const char* path, bool follow_links) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | (follow_links ? 0 : RESOLVE_NO_SYMLINKS);
  const long fd = ::syscall(SYS_openat2, root, path, &how, sizeof how);
  if (fd >= 0 || errno != ENOSYS) return static_cast<int>(fd);
  while (*path == '/') ++path;
  return ::openat(root, path, O_PATH | O_CLOEXEC | O_NOFOLLOW);
}

Result<base::Fd> directory(int at, const char* path) {
  base::Fd fd(::openat(at, path, O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return tl::unexpected(base::os_error(path));
  return fd;
}

}  // namespace

Result<Root> Root::own() { return Root(SKEP_TRY(directory(AT_FDCWD, "/"))); }

Result<Root> Root::of_process(int proc_directory) { return Root(SKEP_TRY(directory(proc_directory, "root"))); }

Result<base::Fd> Root::open_regular(std::string_view path, bool follow_links) const {
  if (path.find('\0') != path.npos) return fail(Code::invalid_argument, "a zero byte in a file name");
  const std::string name(path);
  const base::Fd named(open_below(directory_.get(), name.c_str(), follow_links));
  if (!named) return tl::unexpected(base::os_error(name));
  return reopen_regular(named, name);
}

Result<base::Fd> reopen_regular(const base::Fd& named, std::string_view what) {
  struct stat status{};
  if (::fstat(named.get(), &status) != 0) return tl::unexpected(base::os_error(what));
  if (!S_ISREG(status.st_mode)) return fail(Code::invalid_argument, fmt::format("{}: not a regular file", what));
  base::Fd fd(::open(fmt::format("/proc/self/fd/{}", named.get()).c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd) return tl::unexpected(base::os_error(what));
  return fd;
}

Result<FileIdentity> FileIdentity::of(int fd) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return tl::unexpected(base::os_error("fstat"));
  return FileIdentity{
      status.st_dev, status.st_ino, static_cast<u64>(status.st_size),
      static_cast<s64>(static_cast<u64>(status.st_mtim.tv_sec) * 1'000'000'000 +  // a file may say the year 10^11
                       static_cast<u64>(status.st_mtim.tv_nsec))};
}

}  // namespace skep::symbols
