// Whole files in and out.
#include "base/mapped_file.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <atomic>

#include "base/fd.hpp"

namespace skep::base {

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return tl::unexpected(os_error(path.native()));
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return tl::unexpected(os_error(path.native()));
  if (!S_ISREG(status.st_mode)) return fail(Code::invalid_argument, path.native() + ": not a regular file");
  if (status.st_size == 0) return MappedFile(nullptr, 0);
  const auto size = static_cast<std::size_t>(status.st_size);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (data == MAP_FAILED) return tl::unexpected(os_error(path.native()));
  return MappedFile(data, size);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

namespace {

template <class Container>
Result<Container> read_all(const std::filesystem::path& path, std::size_t limit_bytes) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return tl::unexpected(os_error(path.native()));
  Container out;
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return tl::unexpected(os_error(path.native()));
  std::size_t capacity =
      S_ISREG(status.st_mode) && status.st_size > 0 ? static_cast<std::size_t>(status.st_size) + 1 : 4096;
  for (std::size_t used = 0;;) {
    if (used >= limit_bytes)
      return fail(Code::limit,
                  fmt::format("{}: larger than {} bytes, the most skep reads here", path.native(), limit_bytes));
    if (used >= out.size()) {
      out.resize(std::min(capacity, limit_bytes));
      capacity *= 2;
    }
    const ssize_t got = ::read(fd.get(), out.data() + used, out.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return tl::unexpected(os_error(path.native()));
    if (got == 0) {
      out.resize(used);
      return out;
    }
    used += static_cast<std::size_t>(got);
  }
}

}  // namespace

Result<std::vector<std::byte>> read_file(const std::filesystem::path& path, std::size_t limit_bytes) {
  return read_all<std::vector<std::byte>>(path, limit_bytes);
}
Result<std::string> read_text(const std::filesystem::path& path, std::size_t limit_bytes) {
  return read_all<std::string>(path, limit_bytes);
}

Result<void> write_file_atomic(const std::filesystem::path& path, std::span<const std::byte> bytes, unsigned mode) {
  static std::atomic<unsigned> serial = 0;
  const std::string temporary = fmt::format("{}.{}.{}.tmp", path.native(), ::getpid(), serial++);
  Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!fd) return tl::unexpected(os_error(temporary));
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t put = ::write(fd.get(), bytes.data() + done, bytes.size() - done);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      auto error = os_error(temporary);
      ::unlink(temporary.c_str());
      return tl::unexpected(std::move(error));
    }
    done += static_cast<std::size_t>(put);
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    auto error = os_error(path.native());
    ::unlink(temporary.c_str());
    return tl::unexpected(std::move(error));
  }
  return {};
}

}  // namespace skep::base
