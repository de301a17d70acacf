// SHA-256: names for the compile cache, and the kernel's program tags.
//
// The cache is found by content, so its names must not collide even for sources that were made to collide;
// a checksum would not do. What is hashed is small: speed is of no concern here.
// Source: FIPS 180-4.
#pragma once
#include <array>
#include <skep/types.hpp>
#include <string>
#include <string_view>

namespace skep::base {

/// Takes fields one after the other and gives one name for all of them.
class Digest {
 public:
  /// Adds raw bytes.
  Digest& bytes(std::string_view data) noexcept;
  /// Adds a field together with its length, so that ("ab", "c") and ("a", "bc") differ.
  Digest& field(std::string_view data) noexcept;
  Digest& number(u64 value) noexcept;
  /// The hash, most significant byte first; the object is spent.
  std::array<u8, 32> sum() noexcept;
  /// The first 40 hex digits (160 bits) of the hash; the object is spent.
  std::string name() noexcept;

 private:
  void block(const u8* data) noexcept;
  std::array<u32, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                               0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<u8, 64> pending_{};
  u64 total_ = 0;
};

}  // namespace skep::base
