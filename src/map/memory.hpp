// Memory of maps: zeroed, paid for when touched, known by address.
//
// A map of a million entries must cost nothing until it is used: its memory is mapped, not allocated, and the
// system provides a page at the first touch. Regions lie in a part of the address space where programs are not
// usually loaded, so that a number that a traced process uses as an address is rarely also one of ours; and
// they are listed, so that a helper can tell whether an address that a program computed is map memory.
//
// The list is one per process, as the address space is. A region leaves it, and every run that may be looking is
// waited for, before its memory goes.
#pragma once
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <utility>

namespace skep::map {

inline constexpr u64 page_bytes = 4096;

/// Mapped memory with an owner.
class Region {
 public:
  /// Zeroed memory. Errors: limit (more than the machine has, or the system refused: os_error ENOMEM).
  static Result<Region> allocate(u64 bytes);
  /// `head_bytes` of memory followed by `data_bytes` that are mapped twice in a row: what is written across the
  /// end appears at the beginning. Both are multiples of the page size. Errors: limit, io.
  static Result<Region> ring(u64 head_bytes, u64 data_bytes);

  /// A window of 4 GiB whose base is a multiple of 4 GiB, `guard` bytes of room before and after it included: any
  /// 32-bit offset, give or take a signed 16-bit one, hits mapped memory. Only [begin, begin + bytes) of it is the
  /// owner's (zeroed, paid for when touched); what is written elsewhere goes to a small area that nobody reads.
  /// `wanted`: where the base should be, or 0. Errors: limit, io.
  static Result<Region> window(u64 begin, u64 bytes, u64 wanted);
  static constexpr u64 window_guard = 64 << 10, window_bytes = u64{4} << 30;

  Region() = default;
  Region(Region&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)), entry_(other.entry_) {}
  Region& operator=(Region&&) = delete;
  ~Region();

  std::byte* data() const noexcept { return data_; }
  u64 bytes() const noexcept { return bytes_; }
  /// Bytes of it that are in memory now.
  u64 resident_bytes() const noexcept;

 private:
  Region(std::byte* data, u64 bytes) noexcept;
  std::byte* data_ = nullptr;
  u64 bytes_ = 0;
  void* entry_ = nullptr;  ///< in the list
};

/// How many bytes from `address` on belong to the region that it lies in; 0 when it lies in none. The answer holds
/// until the RunSection that this thread is in ends; 0 outside of one.
u64 map_bytes_from(u64 address) noexcept;

}  // namespace skep::map
