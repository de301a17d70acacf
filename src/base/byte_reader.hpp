// Bounds-checked reading of hostile bytes.
//
// A ByteReader is a window into bytes that somebody else wrote. Every access checks its bounds with
// arithmetic that cannot wrap, and copies, so alignment never matters.
#pragma once
#include <cstddef>
#include <cstring>
#include <optional>
#include <skep/types.hpp>
#include <span>
#include <string_view>
#include <type_traits>

namespace skep::base {

class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}

  u64 size() const noexcept { return bytes_.size(); }
  bool contains(u64 offset, u64 length) const noexcept { return offset <= size() && length <= size() - offset; }

  /// A T at `offset`, or nullopt when it does not fit.
  template <class T>
  std::optional<T> at(u64 offset) const noexcept {
    static_assert(std::is_trivially_copyable_v<T>);
    if (!contains(offset, sizeof(T))) return std::nullopt;
    T value;
    std::memcpy(&value, bytes_.data() + offset, sizeof value);
    return value;
  }

  std::optional<std::span<const std::byte>> slice(u64 offset, u64 length) const noexcept {
    if (!contains(offset, length)) return std::nullopt;
    return bytes_.subspan(offset, length);
  }

  /// The zero-terminated string at `offset`, or nullopt when no terminator follows.
  std::optional<std::string_view> string(u64 offset) const noexcept {
    if (offset >= size()) return std::nullopt;
    const char* begin = reinterpret_cast<const char*>(bytes_.data()) + offset;
    const auto* end = static_cast<const char*>(std::memchr(begin, 0, size() - offset));
    if (end == nullptr) return std::nullopt;
    return std::string_view(begin, static_cast<std::size_t>(end - begin));
  }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace skep::base
