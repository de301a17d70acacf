// A private directory of compiled objects and headers.
//
// Files are found by a name made of everything they depend on, so nothing in here is ever wrong, only
// superfluous. Another user could plant files in a directory that he may write to: a directory or file that
// is not ours, or that others may write to, is not used. Writers make a temporary file and rename it, so
// that starts in parallel see whole files only.
#pragma once
#include <filesystem>
#include <optional>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <string>
#include <string_view>

#include "base/fd.hpp"

namespace skep::compile {

class Cache {
 public:
  /// Opens (and makes) the directory: `wanted` if not empty, else $XDG_CACHE_HOME/skep, $HOME/.cache/skep,
  /// ${TMPDIR:-/tmp}/skep-UID, and at last a new directory that goes with the object.
  /// Errors: only for a `wanted` directory that cannot be used; the message says why.
  static Result<Cache> open(const std::filesystem::path& wanted);
  Cache(Cache&&) = default;
  Cache& operator=(Cache&&) = default;
  ~Cache();

  const std::filesystem::path& directory() const noexcept { return path_; }

  /// The content of a file here, or nullopt when it is absent, not ours, or writable by others.
  std::optional<std::string> read(const std::string& name) const;
  Result<void> write(const std::string& name, std::string_view content) const;

  /// A new, empty, private directory in here for one compilation.
  Result<std::filesystem::path> work_directory() const;

  /// Puts a finished directory in place under `name`; an equal one that came first wins.
  Result<std::filesystem::path> publish(const std::filesystem::path& finished, const std::string& name) const;
  /// The directory `name` in here, if it is there and safe to use.
  std::optional<std::filesystem::path> subdirectory(const std::string& name) const;

  /// Removes what was not used for longest until at most `most_bytes` remain, and work of dead compilations.
  void evict(u64 most_bytes) const;

 private:
  Cache(std::filesystem::path path, base::Fd fd, bool remove_at_end)
      : path_(std::move(path)), fd_(std::move(fd)), remove_at_end_(remove_at_end) {}
  std::filesystem::path path_;
  base::Fd fd_;
  bool remove_at_end_ = false;
};

/// The largest the cache grows.
inline constexpr u64 cache_limit_bytes = 256u << 20;

}  // namespace skep::compile
