// A whole file, read-only, as a span of bytes.
#pragma once
#include <cstddef>
#include <filesystem>
#include <skep/result.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace skep::base {

/// Maps a regular file privately; the span lives as long as the object.
/// A file that shrinks while mapped would fault: use read_file() for files that others may change.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MappedFile& operator=(MappedFile&&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const noexcept { return {static_cast<const std::byte*>(data_), size_}; }

 private:
  MappedFile(void* data, std::size_t size) noexcept : data_(data), size_(size) {}
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Reads a file (or a pipe) into memory; `limit_bytes` bounds what a hostile or endless file may cost.
Result<std::vector<std::byte>> read_file(const std::filesystem::path& path, std::size_t limit_bytes = 256u << 20);
Result<std::string> read_text(const std::filesystem::path& path, std::size_t limit_bytes = 64u << 20);

/// Writes a file so that others see the old or the new content, never half of it (temporary name, then rename).
Result<void> write_file_atomic(const std::filesystem::path& path, std::span<const std::byte> bytes,
                               unsigned mode = 0644);

}  // namespace skep::base
