// A file of which only the needed parts are read: symbol tables of programs of hundreds of megabytes.
//
// The image is anonymous memory as long as the file. Parts are copied into it when they are asked for; the rest stays
// zero and takes no memory. A mapping of the file itself would be as lazy, but whoever may write the file could shrink
// it and kill us with SIGBUS; here a file that changes gives wrong or missing names and nothing worse.
#pragma once
#include <utility>

#include "elf/elf.hpp"

namespace skep::elf {

class FileImage {
 public:
  /// Reads header, tables and section names of the regular file behind `fd`, which stays the caller's and must be open
  /// while load() is used. Errors: malformed, unsupported (as File::parse), limit, io.
  static Result<FileImage> open(int fd);
  FileImage(FileImage&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(other.size_),
        loaded_(other.loaded_),
        fd_(other.fd_),
        file_(std::move(other.file_)) {}
  FileImage& operator=(FileImage&&) = delete;
  ~FileImage();

  /// Valid as long as the image.
  const File& file() const { return file_; }
  /// Fetches a section; after it File::contents(), symbols(), ... give its bytes. Errors: malformed, limit, io.
  Result<void> load(const Section& section);

 private:
  FileImage(std::byte* data, u64 size, int fd) noexcept : data_(data), size_(size), fd_(fd) {}
  Result<void> load(u64 offset, u64 size);
  Result<void> load_tables();

  std::byte* data_ = nullptr;
  u64 size_ = 0;
  u64 loaded_ = 0;
  int fd_ = -1;
  File file_;
};

}  // namespace skep::elf
