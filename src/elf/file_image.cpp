// Fetching a file piece by piece. See file_image.hpp.
#include "elf/file_image.hpp"

#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/fd.hpp"

namespace skep::elf {

namespace {

constexpr u64 most_file_bytes = 1ULL << 40;    // the length of the image; only what is loaded takes memory
constexpr u64 most_table_bytes = 16u << 20;    // 262,144 sections: a linked program has some forty
constexpr u64 most_loaded_bytes = 512u << 20;  // of all parts together

}  // namespace

FileImage::~FileImage() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

Result<void> FileImage::load(u64 offset, u64 size) {
  if (offset > size_ || size > size_ - offset)
    return fail(Code::malformed,
                fmt::format("{} bytes at offset {} lie outside the file ({} bytes)", size, offset, size_));
  loaded_ += size;
  if (loaded_ > most_loaded_bytes)
    return fail(Code::limit, fmt::format("more than {} MiB of tables", most_loaded_bytes >> 20));
  for (u64 done = 0; done < size;) {
    const ssize_t got = ::pread(fd_, data_ + offset + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return tl::unexpected(base::os_error("read"));
    if (got == 0) return fail(Code::malformed, "the file became shorter while it was read");
    done += static_cast<u64>(got);
  }
  return {};
}

Result<void> FileImage::load(const Section& section) {
  if (section.type == section_nobits) return {};
  return load(section.offset, section.size);
}

Result<void> FileImage::load_tables() {
  const std::span<const std::byte> bytes(data_, size_);
  constexpr u64 header_bytes = 64, section_bytes = 64;
  SKEP_TRY(load(0, std::min(size_, header_bytes)));
  const auto before = SKEP_TRY(File::tables(bytes));
  if (before[0].size != 0) SKEP_TRY(load(before[0].offset, section_bytes));  // it may say how many there are
  const auto tables = SKEP_TRY(File::tables(bytes));
  for (const File::Range& table : tables) {
    if (table.size > most_table_bytes)
      return fail(Code::limit, fmt::format("a table of sections of {} MiB", table.size >> 20));
    SKEP_TRY(load(table.offset, table.size));
  }
  file_ = SKEP_TRY(File::parse(bytes));
  if (const Section* names = file_.names(); names != nullptr) {
    if (names->size > most_table_bytes)
      return fail(Code::limit, fmt::format("names of sections of {} MiB", names->size >> 20));
    SKEP_TRY(load(*names));
    file_ = SKEP_TRY(File::parse(bytes));
  }
  return {};
}

Result<FileImage> FileImage::open(int fd) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return tl::unexpected(base::os_error("fstat"));
  if (!S_ISREG(status.st_mode)) return fail(Code::invalid_argument, "not a regular file");
  const u64 size = static_cast<u64>(status.st_size);
  if (size == 0) return fail(Code::malformed, "an empty file, expected an ELF program or library");
  if (size > most_file_bytes) return fail(Code::limit, fmt::format("a file of {} GiB", size >> 30));
  void* const data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) return tl::unexpected(base::os_error("mmap"));
  FileImage image(static_cast<std::byte*>(data), size, fd);
  SKEP_TRY(image.load_tables());
  return image;
}

}  // namespace skep::elf
