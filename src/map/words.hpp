// Copying values that others may be reading.
//
// Values in maps are shared with programs that run on other threads without a lock. Copies therefore go word by
// word: an aligned 8-byte counter is never seen half written, as in the kernel (copy_map_value_long). The
// map's side of a copy is 8-byte aligned and padded to whole words; the caller's side is neither.
#pragma once
#include <atomic>
#include <cerrno>
#include <cstring>
#include <skep/types.hpp>

namespace skep::map {

constexpr u64 round_up(u64 size, u64 to) noexcept { return (size + to - 1) / to * to; }

inline std::atomic_ref<u64> word_at(void* base, u64 offset) noexcept {
  return std::atomic_ref<u64>(*reinterpret_cast<u64*>(static_cast<std::byte*>(base) + offset));
}

/// Writes `size` bytes at `to` (aligned, padded); the padding becomes zero.
template <std::memory_order order = std::memory_order_relaxed>
inline void store_words(void* to, const void* from, u64 size) noexcept {
  u64 offset = 0, word = 0;
  if (size == 8) {  // most values: one word, no loop
    std::memcpy(&word, from, 8);
    word_at(to, 0).store(word, order);
    return;
  }
  for (; offset + 8 <= size; offset += 8) {
    std::memcpy(&word, static_cast<const std::byte*>(from) + offset, 8);
    word_at(to, offset).store(word, order);
  }
  if (offset == size) return;
  word = 0;
  std::memcpy(&word, static_cast<const std::byte*>(from) + offset, size - offset);
  word_at(to, offset).store(word, order);
}

/// Reads `size` bytes at `from` (aligned, padded).
template <std::memory_order order = std::memory_order_relaxed>
inline void load_words(void* to, const void* from, u64 size) noexcept {
  auto* source = const_cast<void*>(from);
  u64 offset = 0;
  for (; offset + 8 <= size; offset += 8) {
    const u64 word = word_at(source, offset).load(order);
    std::memcpy(static_cast<std::byte*>(to) + offset, &word, 8);
  }
  if (offset == size) return;
  const u64 word = word_at(source, offset).load(order);
  std::memcpy(static_cast<std::byte*>(to) + offset, &word, size - offset);
}

/// Zeroes `size` bytes at `to` (aligned, padded).
inline void clear_words(void* to, u64 size) noexcept {
  for (u64 offset = 0; offset < size; offset += 8) word_at(to, offset).store(0, std::memory_order_relaxed);
}

/// A u32 key wherever it lies.
inline u32 index_of(const void* key) noexcept {
  u32 index;
  std::memcpy(&index, key, sizeof index);
  return index;
}

/// The key behind `key` in a map of `count` indices: the first for nullptr and for one that is not there.
/// 0 or -ENOENT behind the last.
inline s64 next_index(const void* key, u32 count, void* next) noexcept {
  const u32 index = key == nullptr ? ~0u : index_of(key);
  if (index < count && index + 1 == count) return -ENOENT;
  const u32 following = index < count ? index + 1 : 0;
  std::memcpy(next, &following, sizeof following);
  return 0;
}

}  // namespace skep::map
