// The table under every hash map: look-ups without locks, writers that lock one bucket.
//
// A bucket is one word: the first element of its chain, a lock bit, and a version that grows with every change of
// the chain. A look-up walks the chain without locking. It may stray: an element it stands on can be removed and
// used again in another chain. Two checks catch that. A hit is believed only if the element's generation did not
// change while its key was compared; a miss only if the bucket's version did not change during the walk.
// Otherwise the walk is repeated, and after a few times done under the lock.
//
// Elements come from a pool that is as large as the map may become, plus a few that are on their way in or out.
// They are taken first from a list of freed ones (their memory is warm), then from the untouched rest, which costs
// no memory until then. Elements are never given back to the system, so a pointer into one is always valid.
//
// Replacing a value takes a new element and links it in the old one's place: readers see the old value or the new
// one, never half of each. Per-CPU values lie apart, by CPU, and are overwritten in place.
// Source: the guarantees are those of kernel/bpf/hashtab.c with preallocation; the algorithm is our own.
#pragma once
#include <atomic>
#include <cstring>
#include <skep/result.hpp>
#include <skep/types.hpp>

#include "map/memory.hpp"
#include "map/words.hpp"

namespace skep::map {

struct HashShape {
  u32 key_size = 0;
  u32 value_size = 0;
  u32 max_entries = 0;
  u32 cpus = 0;         ///< 0: one value an element; else one a CPU
  bool evicts = false;  ///< LRU: a full table makes room by itself
  u64 seed = 0;
};

class HashTable {
 public:
  /// An element by number + 1; 0 is none.
  using Ref = u32;

  static Result<HashTable> create(const HashShape& shape);

  /// The element of `key`, or 0. `KeySize` 0: as the shape says.
  template <u32 KeySize>
  Ref find(const void* key) noexcept;
  /// The value of an element (on one CPU for per-CPU tables).
  std::byte* value(Ref ref, u32 cpu = 0) const noexcept {
    if (cpus_ == 0) return element(ref) + value_offset_;
    return percpu_ + cpu_stride_ * cpu + u64{ref - 1} * value_stride_;
  }
  /// Says that an element was used (LRU tables).
  void touch(Ref ref) noexcept {
    auto& used = used_[ref - 1];
    if (used.load(std::memory_order_relaxed) == 0) used.store(1, std::memory_order_relaxed);
  }

  /// How a value is written into per-CPU tables: to one CPU (the others: zero, when the key is new) or to all,
  /// from an array of padded values.
  static constexpr u32 all_cpus = ~0u;
  s64 update(const void* key, const void* value, u64 flags, u32 cpu) noexcept;
  s64 erase(const void* key) noexcept;
  /// Copies the value (all CPUs', padded, for per-CPU tables). 0 or -ENOENT.
  s64 copy(const void* key, void* value) noexcept;
  s64 next_key(const void* key, void* next) noexcept;
  /// Copies the value as copy() does and removes the element.
  s64 take_out(const void* key, void* value) noexcept;
  /// Copies every element of one bucket, of which there are bucket_count(), and removes them where asked. How many,
  /// or -ENOSPC when there are more than `room`: then nothing is copied or removed. `value_bytes`: of a value as
  /// copy() gives it.
  s64 copy_bucket(u32 bucket, std::byte* keys, std::byte* values, u32 value_bytes, u32 room, bool remove) noexcept;
  u64 bucket_count() const noexcept { return u64{bucket_mask_} + 1; }

  u32 count() const noexcept { return counters_->live.load(std::memory_order_relaxed); }
  u64 memory_bytes() const noexcept { return region_.resident_bytes(); }

 private:
  struct Header {
    std::atomic<u32> next;  ///< Ref of the chain's next element
    std::atomic<u32> hash;
    std::atomic<u32> generation;  ///< odd while the element is being written
    std::atomic<u32> free_next;   ///< Ref of the pool's next free element
  };
  struct alignas(64) Counters {
    std::atomic<u32> live;
    std::atomic<u32> fresh;                  ///< elements that were taken at least once
    std::atomic<u32> hand;                   ///< LRU: where the next search for an old element starts
    alignas(64) std::atomic<u64> free_list;  ///< tag:32 | Ref:32
  };
  struct Taken {
    Ref ref = 0;
    bool fresh = false;  ///< never used before: all zero
  };
  /// A locked bucket and its word; the chain changes only under it.
  struct Locked {
    std::atomic<u64>* bucket;
    u64 word;
    Ref head() const noexcept { return static_cast<Ref>(word); }
  };
  struct Place {
    Ref ref = 0, before = 0;
  };
  /// Elements beyond max_entries: replacements in flight, one a thread.
  static constexpr u32 in_flight = 64;
  static constexpr u64 lock_bit = u64{1} << 32, version_step = u64{1} << 33;

  HashTable(const HashShape& shape, Region region) noexcept;

  std::byte* element(Ref ref) const noexcept { return elements_ + u64{ref - 1} * element_stride_; }
  Header& header(Ref ref) const noexcept { return *reinterpret_cast<Header*>(element(ref)); }
  std::byte* key_of(Ref ref) const noexcept { return element(ref) + sizeof(Header); }
  std::atomic<u64>& bucket_of(u32 hash) const noexcept { return buckets_[hash & bucket_mask_]; }

  template <u32 KeySize>
  u32 hash_of(const void* key) const noexcept;
  template <u32 KeySize>
  bool key_equals(Ref ref, const void* key) const noexcept;
  template <u32 KeySize>
  bool walk(const std::atomic<u64>& bucket, u32 hash, const void* key, Ref& found) const noexcept;

  static Locked lock(std::atomic<u64>& bucket) noexcept;
  static void unlock(const Locked& locked) noexcept;
  static void unlock_changed(const Locked& locked, Ref head) noexcept;
  Place search(const Locked& locked, u32 hash, const void* key) const noexcept;
  void unlink_and_unlock(const Locked& locked, Place place) noexcept;

  Taken take() noexcept;
  void give_back(Ref ref) noexcept;
  bool count_one_more() noexcept;
  void fill(Taken taken, u32 hash, const void* key, const void* value, u32 cpu) noexcept;
  void write_percpu(Ref ref, const void* value, u32 cpu) noexcept;
  s64 replace(Locked& locked, Place place, u32 hash, const void* key, const void* value, u32 cpu) noexcept;
  bool evict_one() noexcept;
  void copy_value(Ref ref, void* to) const noexcept;

  Region region_;
  std::atomic<u64>* buckets_ = nullptr;
  u32 bucket_mask_ = 0;
  u32 key_size_ = 0;
  u64 seed_ = 0;
  std::byte* elements_ = nullptr;
  u64 element_stride_ = 0;
  u64 value_offset_ = 0;
  u32 value_size_ = 0;
  u32 max_entries_ = 0;
  u32 capacity_ = 0;
  u32 cpus_ = 0;
  bool evicts_ = false;
  std::byte* percpu_ = nullptr;
  u64 cpu_stride_ = 0;
  u64 value_stride_ = 0;
  std::atomic<u8>* used_ = nullptr;
  Counters* counters_ = nullptr;
};

namespace detail {
inline u64 fold(u64 a, u64 b) noexcept {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<u64>(product) ^ static_cast<u64>(product >> 64);
}
inline constexpr u64 odd_1 = 0x9e3779b97f4a7c15, odd_2 = 0xd6e8feb86659fd93;
}  // namespace detail

template <u32 KeySize>
u32 HashTable::hash_of(const void* key) const noexcept {
  const u32 size = KeySize != 0 ? KeySize : key_size_;
  const auto* bytes = static_cast<const std::byte*>(key);
  u64 state = seed_ ^ (size * detail::odd_2);
  u32 offset = 0;
  u64 word = 0;
  for (; offset + 8 <= size; offset += 8) {
    std::memcpy(&word, bytes + offset, 8);
    state = detail::fold(state ^ word, detail::odd_1);
  }
  if (offset < size) {
    word = 0;
    std::memcpy(&word, bytes + offset, size - offset);
    state = detail::fold(state ^ word, detail::odd_1);
  }
  state = detail::fold(state ^ (state >> 32), detail::odd_2);
  return static_cast<u32>(state);
}

template <u32 KeySize>
bool HashTable::key_equals(Ref ref, const void* key) const noexcept {
  const u32 size = KeySize != 0 ? KeySize : key_size_;
  const auto* bytes = static_cast<const std::byte*>(key);
  std::byte* ours = key_of(ref);
  u32 offset = 0;
  u64 word = 0;
  for (; offset + 8 <= size; offset += 8) {
    std::memcpy(&word, bytes + offset, 8);
    if (word_at(ours, offset).load(std::memory_order_acquire) != word) return false;
  }
  if (offset == size) return true;
  word = 0;
  std::memcpy(&word, bytes + offset, size - offset);
  return word_at(ours, offset).load(std::memory_order_acquire) == word;
}

/// False: the chain changed during the walk and nothing was found.
template <u32 KeySize>
bool HashTable::walk(const std::atomic<u64>& bucket, u32 hash, const void* key, Ref& found) const noexcept {
  const u64 before = bucket.load(std::memory_order_acquire);
  // A walk that strays from chain to chain still ends: its length is bounded.
  u32 steps = 0;
  for (Ref ref = static_cast<Ref>(before); ref != 0; ++steps) {
    if (steps == 4096) return false;
    const Header& at = header(ref);
    const u32 generation = at.generation.load(std::memory_order_acquire);
    if (at.hash.load(std::memory_order_acquire) == hash && (generation & 1) == 0 && key_equals<KeySize>(ref, key) &&
        at.generation.load(std::memory_order_relaxed) == generation) {
      found = ref;
      return true;
    }
    ref = at.next.load(std::memory_order_acquire);
  }
  found = 0;
  return bucket.load(std::memory_order_relaxed) == before && (before & lock_bit) == 0;
}

template <u32 KeySize>
HashTable::Ref HashTable::find(const void* key) noexcept {
  const u32 hash = hash_of<KeySize>(key);
  std::atomic<u64>& bucket = bucket_of(hash);
  for (int attempts = 0; attempts < 16; ++attempts) {
    Ref found = 0;
    if (walk<KeySize>(bucket, hash, key, found)) return found;
  }
  const Locked locked = lock(bucket);
  const Place place = search(locked, hash, key);
  unlock(locked);
  return place.ref;
}

}  // namespace skep::map
