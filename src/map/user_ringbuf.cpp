// User ring buffers. See user_ringbuf.hpp.
//
// In the kernel this memory is shared with an untrusted process, so each header is checked again before it is used.
// Here host and program live in one process and nobody but this file writes headers; they are bounded all the same.
// Source: kernel/bpf/ringbuf.c (__bpf_user_ringbuf_peek, bpf_user_ringbuf_drain); tools/lib/bpf/ringbuf.c.
#include "map/user_ringbuf.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>

#include "map/memory.hpp"
#include "map/spin_lock.hpp"
#include "map/types.hpp"
#include "map/words.hpp"

namespace skep::map {

namespace {

constexpr u32 busy_bit = 1u << 31, discard_bit = 1u << 30;
constexpr u64 header_bytes = 8;
constexpr u32 most_records = 128u << 10;  // BPF_MAX_USER_RINGBUF_SAMPLES

class UserRingMap final : public Map {
 public:
  UserRingMap(const MapSpec& spec, Region region)
      : Map(spec), region_(std::move(region)), data_(region_.data() + page_bytes), mask_(spec.max_entries - 1) {}

  void* lookup(const void*) noexcept override { return nullptr; }
  s64 update(const void*, const void*, u64) noexcept override { return -not_supported; }
  s64 erase(const void*) noexcept override { return -not_supported; }
  u64 memory_bytes() const noexcept override { return region_.resident_bytes(); }

  std::byte* reserve(u32 size) noexcept {
    const u64 length = round_up(size + header_bytes, 8);
    if (length > mask_ + 1) return nullptr;
    const std::lock_guard lock(producing_);
    const u64 position = producer_.load(std::memory_order_relaxed);
    if (position + length - consumed_ > mask_ + 1) consumed_ = consumer_.load(std::memory_order_acquire);
    if (position + length - consumed_ > mask_ + 1) return nullptr;
    std::byte* record = data_ + (position & mask_);
    header(record).store(u64{size} | busy_bit, std::memory_order_relaxed);
    producer_.store(position + length, std::memory_order_release);
    return record + header_bytes;
  }
  void commit(void* sample, bool discard) noexcept {
    std::byte* record = static_cast<std::byte*>(sample) - header_bytes;
    const u64 size = header(record).load(std::memory_order_relaxed) & ~u64{busy_bit};
    header(record).store(size | (discard ? discard_bit : 0), std::memory_order_release);
  }

  s64 drain(UserRingFn on_record, void* context) noexcept {
    if (draining_.exchange(true, std::memory_order_acquire)) return -EBUSY;
    s64 count = 0, stop = 0;
    // Room is given back for some KiB at once, and what comes while this drain runs is looked for when it has read all:
    // producer and consumer then touch each other's memory rarely.
    const u64 at_once = std::min<u64>((mask_ + 1) / 8, 8 << 10);
    u64 position = consumer_.load(std::memory_order_relaxed), released = position, end = position;
    for (u32 read = 0; read < most_records && stop == 0; ++read) {
      if (position == end && position == (end = producer_.load(std::memory_order_acquire))) break;
      std::byte* record = data_ + (position & mask_);
      const u64 word = header(record).load(std::memory_order_acquire);
      if ((word & busy_bit) != 0) break;  // the producer still writes it
      const u32 size = static_cast<u32>(word) & ~(busy_bit | discard_bit);
      if ((word & discard_bit) == 0) {
        stop = on_record(context, record + header_bytes, size);
        ++count;
      }
      position += round_up(size + header_bytes, 8);
      if (position - released < at_once) continue;
      consumer_.store(position, std::memory_order_release);
      released = position;
    }
    consumer_.store(position, std::memory_order_release);
    draining_.store(false, std::memory_order_release);
    return count;
  }

 protected:
  s64 host_lookup(const void*, void*) noexcept override { return -not_supported; }
  s64 host_update(const void*, const void*, u64) noexcept override { return -not_supported; }
  s64 host_next_key(const void*, void*) noexcept override { return -not_supported; }

 private:
  static std::atomic_ref<u64> header(std::byte* record) noexcept {
    return std::atomic_ref<u64>(*reinterpret_cast<u64*>(record));
  }

  Region region_;
  std::byte* data_;
  u64 mask_;
  alignas(64) SpinLock producing_;
  u64 consumed_ = 0;  ///< consumer_ as the producers last saw it
  std::atomic<u64> producer_{0};
  alignas(64) std::atomic<u64> consumer_{0};
  std::atomic<bool> draining_{false};
};

UserRingMap* ring_of(Map& map) noexcept {
  return map.spec().type == MapType::user_ringbuf ? static_cast<UserRingMap*>(&map) : nullptr;
}

}  // namespace

Result<std::shared_ptr<Map>> make_user_ringbuf(const MapSpec& spec) {
  auto region = SKEP_TRY(Region::ring(page_bytes, spec.max_entries));
  return std::make_shared<UserRingMap>(spec, std::move(region));
}

void* user_ring_reserve(Map& map, u32 size) noexcept {
  UserRingMap* ring = ring_of(map);
  return ring != nullptr ? ring->reserve(size) : nullptr;
}
void user_ring_submit(Map& map, void* record) noexcept {
  if (UserRingMap* ring = ring_of(map); ring != nullptr) ring->commit(record, false);
}
void user_ring_discard(Map& map, void* record) noexcept {
  if (UserRingMap* ring = ring_of(map); ring != nullptr) ring->commit(record, true);
}

s64 user_ring_write(Map& map, std::span<const std::byte> data) noexcept {
  UserRingMap* ring = ring_of(map);
  if (ring == nullptr) return -EINVAL;
  if (round_up(data.size() + header_bytes, 8) > map.spec().max_entries) return -E2BIG;
  std::byte* to = ring->reserve(static_cast<u32>(data.size()));
  if (to == nullptr) return -ENOSPC;
  std::memcpy(to, data.data(), data.size());
  ring->commit(to, false);
  return 0;
}

s64 user_ring_drain(Map& map, UserRingFn on_record, void* context, u64 flags) noexcept {
  constexpr u64 wake_flags = 3;  // BPF_RB_NO_WAKEUP, BPF_RB_FORCE_WAKEUP: producers here are never asleep
  UserRingMap* ring = ring_of(map);
  if (ring == nullptr || (flags & ~wake_flags) != 0) return -EINVAL;
  return ring->drain(on_record, context);
}

}  // namespace skep::map
