// Copying around fields, and letting go of what they hold. See fields.hpp.
#include "map/fields.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>

#include "map/graph.hpp"
#include "map/object_pool.hpp"
#include "map/timers.hpp"
#include "map/words.hpp"

namespace skep::map {

namespace {

std::byte* byte_at(void* base, u64 offset) noexcept { return static_cast<std::byte*>(base) + offset; }

/// The bits of a word's bytes, as a mask of the word.
u64 spread(u8 bytes) noexcept {
  u64 mask = 0;
  for (u32 i = 0; i < 8; ++i)
    if ((bytes >> i & 1) != 0) mask |= u64{0xff} << 8 * i;
  return mask;
}

}  // namespace

Fields::Fields(std::vector<Field> fields, u32 size, s32 lock, std::shared_ptr<Timers> timers)
    : fields_(std::move(fields)), size_(size), lock_(lock), timers_(std::move(timers)) {
  plain_.assign((u64{size} + 7) / 8, 0xff);
  if (size % 8 != 0) plain_.back() = static_cast<u8>((1u << size % 8) - 1);
  for (const Field& field : fields_) {
    for (u64 i = field.offset; i < u64{field.offset} + field.size && i < size; ++i)
      plain_[i / 8] = static_cast<u8>(plain_[i / 8] & ~(1u << i % 8));
    owns_ = owns_ || field.what != Field::What::plain;
    has_timers_ = has_timers_ || field.what == Field::What::timer || field.what == Field::What::work;
  }
}

void Fields::store(void* to, const void* from) const noexcept {
  for (u64 w = 0; w < plain_.size(); ++w) {
    const u8 plain = plain_[w];
    if (plain == 0) continue;
    u64 word = 0;
    const u64 bytes = std::min<u64>(8, size_ - w * 8);
    std::memcpy(&word, static_cast<const std::byte*>(from) + w * 8, bytes);
    if (plain == 0xff) {
      word_at(to, w * 8).store(word, std::memory_order_release);
      continue;
    }
    for (u32 i = 0; i < bytes; ++i)
      if ((plain >> i & 1) != 0)
        std::atomic_ref(*reinterpret_cast<u8*>(byte_at(to, w * 8 + i)))
            .store(static_cast<u8>(word >> 8 * i), std::memory_order_release);
  }
}

void Fields::load(void* to, const void* from, bool padded) const noexcept {
  auto* source = const_cast<void*>(from);
  for (u64 w = 0; w < plain_.size(); ++w) {
    const u64 word = word_at(source, w * 8).load(std::memory_order_acquire) & spread(plain_[w]);
    std::memcpy(byte_at(to, w * 8), &word, padded ? 8 : std::min<u64>(8, size_ - w * 8));
  }
}

void Fields::release(void* value) const noexcept {
  if (!owns_) return;
  for (const Field& field : fields_) {
    void* const at = byte_at(value, field.offset);
    void* const lock = lock_ >= 0 ? byte_at(value, static_cast<u64>(lock_)) : nullptr;
    switch (field.what) {
      case Field::What::plain:
        break;
      case Field::What::pointer:
        if (word_at(at, 0).load(std::memory_order_relaxed) == 0) break;
        object_put(reinterpret_cast<void*>(word_at(at, 0).exchange(0, std::memory_order_acq_rel)));  // NOLINT
        break;
      case Field::What::timer:
      case Field::What::work:
        timers_->forget(at);
        break;
      case Field::What::list_head:
        put_list(*static_cast<ListHead*>(at), lock);
        break;
      case Field::What::tree_root:
        put_tree(*static_cast<TreeRoot*>(at), lock);
        break;
    }
  }
}

void Fields::release_timers(void* value) const noexcept {
  for (const Field& field : fields_)
    if (field.what == Field::What::timer || field.what == Field::What::work)
      timers_->forget(byte_at(value, field.offset));
}

s32 Fields::offset_of(Field::What what) const noexcept {
  for (const Field& field : fields_)
    if (field.what == what) return static_cast<s32>(field.offset);
  return -1;
}

}  // namespace skep::map
