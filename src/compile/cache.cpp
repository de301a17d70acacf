// Everything is opened relative to the directory's descriptor, with O_NOFOLLOW, and checked after opening.
#include "compile/cache.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <vector>

#include "base/mapped_file.hpp"

namespace skep::compile {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t most_file_bytes = 64u << 20;
constexpr std::time_t stale_after_s = 3600;

bool ours_alone(const struct stat& s) { return s.st_uid == ::geteuid() && (s.st_mode & (S_IWGRP | S_IWOTH)) == 0; }

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

/// Opens a directory of ours, making it (and missing parents) with mode 0700.
Result<base::Fd> open_private(const fs::path& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno == ENOENT) {
    std::error_code ignored;
    fs::create_directories(path.parent_path(), ignored);
    ::mkdir(path.c_str(), 0700);
  }
  base::Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return tl::unexpected(base::os_error(path.native()));
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return tl::unexpected(base::os_error(path.native()));
  if (!ours_alone(status))
    return fail(Code::permission, fmt::format("{} belongs to user {} with mode {:o}; a cache must be ours and not "
                                              "writable by others: remove it, or choose another with XDG_CACHE_HOME",
                                              path.native(), status.st_uid, status.st_mode & 07777));
  if (::faccessat(fd.get(), ".", W_OK, AT_EACCESS) != 0) return tl::unexpected(base::os_error(path.native()));
  return fd;
}

/// Root with a user's HOME (sudo) must not leave root's files there: only a parent of ours is used.
bool parent_is_ours(const fs::path& path) {
  struct stat status{};
  for (fs::path p = path.parent_path(); !p.empty(); p = p.parent_path()) {
    if (::stat(p.c_str(), &status) == 0) return status.st_uid == ::geteuid();
    if (p == p.root_path()) break;
  }
  return false;
}

std::vector<fs::path> places() {
  std::vector<fs::path> out;
  if (const fs::path xdg = environment("XDG_CACHE_HOME"); xdg.is_absolute()) out.push_back(xdg / "skep");
  if (const fs::path home = environment("HOME"); home.is_absolute()) out.push_back(home / ".cache" / "skep");
  return out;
}

fs::path temporary_root() {
  const fs::path named = environment("TMPDIR");
  return named.is_absolute() ? named : fs::path("/tmp");
}

/// Of a directory that others may be changing: what vanishes meanwhile is not counted.
u64 size_of_files(const fs::path& directory) {
  u64 size = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator at(directory, error), end; !error && at != end; at.increment(error)) {
    struct stat status{};
    if (::lstat(at->path().c_str(), &status) == 0 && S_ISREG(status.st_mode)) size += static_cast<u64>(status.st_size);
  }
  return size;
}

std::string unique_name() {
  static std::atomic<unsigned> counter{0};
  return fmt::format("work-{}-{}", ::getpid(), counter.fetch_add(1));
}

}  // namespace

Result<Cache> Cache::open(const fs::path& wanted) {
  if (!wanted.empty()) return Cache(wanted, SKEP_TRY_AT("compile cache", open_private(wanted)), false);
  for (const fs::path& path : places())
    if (parent_is_ours(path))
      if (auto fd = open_private(path)) return Cache(path, *std::move(fd), false);
  const fs::path shared = temporary_root() / fmt::format("skep-{}", ::geteuid());
  if (auto fd = open_private(shared)) return Cache(shared, *std::move(fd), false);
  std::string fresh = (temporary_root() / "skep-XXXXXX").native();
  if (::mkdtemp(fresh.data()) == nullptr) return tl::unexpected(base::os_error(fresh));
  return Cache(fresh, SKEP_TRY(open_private(fresh)), true);
}

Cache::~Cache() {
  std::error_code ignored;
  if (remove_at_end_ && fd_) fs::remove_all(path_, ignored);
}

std::optional<std::string> Cache::read(const std::string& name) const {
  base::Fd fd(::openat(fd_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  struct stat status{};
  if (!fd || ::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode) || !ours_alone(status)) return std::nullopt;
  if (static_cast<u64>(status.st_size) > most_file_bytes) return std::nullopt;
  std::string content(static_cast<std::size_t>(status.st_size), '\0');
  std::size_t used = 0;
  while (used < content.size()) {
    const ssize_t got = ::read(fd.get(), content.data() + used, content.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return std::nullopt;
    used += static_cast<std::size_t>(got);
  }
  // The time of the last use, for evict(); once an hour is exact enough and keeps a hit free of writes.
  if (std::time(nullptr) - status.st_mtim.tv_sec > stale_after_s) ::futimens(fd.get(), nullptr);
  return content;
}

Result<void> Cache::write(const std::string& name, std::string_view content) const {
  const std::string temporary = unique_name();
  base::Fd fd(::openat(fd_.get(), temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return tl::unexpected(base::os_error((path_ / temporary).native()));
  while (!content.empty()) {
    const ssize_t put = ::write(fd.get(), content.data(), content.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      const Error error = base::os_error((path_ / temporary).native());
      ::unlinkat(fd_.get(), temporary.c_str(), 0);
      return tl::unexpected(error);
    }
    content.remove_prefix(static_cast<std::size_t>(put));
  }
  if (::renameat(fd_.get(), temporary.c_str(), fd_.get(), name.c_str()) != 0) {
    const Error error = base::os_error((path_ / name).native());
    ::unlinkat(fd_.get(), temporary.c_str(), 0);
    return tl::unexpected(error);
  }
  return {};
}

Result<fs::path> Cache::work_directory() const {
  // A name can be left from a dead process with our number: the next one is tried.
  for (int attempt = 0; attempt < 100; ++attempt) {
    const std::string name = unique_name();
    if (::mkdirat(fd_.get(), name.c_str(), 0700) == 0) return path_ / name;
    if (errno != EEXIST) break;
  }
  return tl::unexpected(base::os_error(fmt::format("{}: cannot make a directory", path_.native())));
}

Result<fs::path> Cache::publish(const fs::path& finished, const std::string& name) const {
  const fs::path target = path_ / name;
  if (::rename(finished.c_str(), target.c_str()) == 0) return target;
  const Error error = base::os_error(target.native());
  std::error_code ignored;
  fs::remove_all(finished, ignored);
  if (auto there = subdirectory(name)) return *there;
  return tl::unexpected(error);
}

std::optional<fs::path> Cache::subdirectory(const std::string& name) const {
  struct stat status{};
  if (::fstatat(fd_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
  if (!S_ISDIR(status.st_mode) || !ours_alone(status)) return std::nullopt;
  if (std::time(nullptr) - status.st_mtim.tv_sec > stale_after_s / 2)
    ::utimensat(fd_.get(), name.c_str(), nullptr, AT_SYMLINK_NOFOLLOW);
  return path_ / name;
}

void Cache::evict(u64 most_bytes) const {
  struct Entry {
    std::time_t used;
    u64 size;
    fs::path path;
  };
  std::vector<Entry> entries;
  u64 total = 0;
  const std::time_t now = std::time(nullptr);
  std::error_code error;
  for (fs::directory_iterator at(path_, error), end; !error && at != end; at.increment(error)) {
    struct stat status{};
    if (::lstat(at->path().c_str(), &status) != 0) continue;
    const bool work = at->path().filename().native().starts_with("work-");
    // Somebody may be compiling in it, or with it.
    const bool young = now - status.st_mtim.tv_sec <= stale_after_s;
    if (work && young) continue;
    const u64 size = S_ISDIR(status.st_mode) ? size_of_files(at->path()) : static_cast<u64>(status.st_size);
    total += size;
    if (S_ISDIR(status.st_mode) && young) continue;
    entries.push_back({work ? 0 : status.st_mtim.tv_sec, size, at->path()});
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.used < b.used; });
  for (const Entry& entry : entries) {
    if (entry.used != 0 && total <= most_bytes) break;
    fs::remove_all(entry.path, error);
    total -= std::min(total, entry.size);
  }
}

}  // namespace skep::compile
