// Shared memory with an owner, and waiting for a descriptor: what every ring needs.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <utility>

namespace skep::kernel {

inline u64 page_bytes() noexcept { return static_cast<u64>(::sysconf(_SC_PAGESIZE)); }

/// mmap(2), MAP_SHARED; unmapped when it goes.
class Mapping {
 public:
  /// `address`: where it must lie, or 0.
  static Result<Mapping> map(int fd, u64 bytes, int protection, u64 offset, u64 address = 0);
  Mapping(Mapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Mapping& operator=(Mapping&&) = delete;
  ~Mapping() {
    if (data_ != nullptr) ::munmap(data_, size_);
  }

  std::byte* bytes() const noexcept { return static_cast<std::byte*>(data_); }
  u64 size() const noexcept { return size_; }
  template <class T>
  T& at(u64 offset) const noexcept {
    return *reinterpret_cast<T*>(bytes() + offset);
  }

 private:
  Mapping(void* data, u64 size) noexcept : data_(data), size_(size) {}
  void* data_ = nullptr;
  u64 size_ = 0;
};

/// Waits until `fd` is readable or the time is over; a signal ends the wait early. Negative: no limit.
Result<bool> wait_readable(int fd, std::chrono::milliseconds timeout);
/// The same until it can be written to.
Result<bool> wait_writable(int fd, std::chrono::milliseconds timeout);

}  // namespace skep::kernel
