// The table under every hash map: look-ups without locks, writers that take one lock and nothing else.
//
// A bucket is one word: the first element of its chain and a version that grows with every change of the chain. A
// look-up walks the chain without locking. It may stray: an element it stands on can be removed and used again in
// another chain. Two checks catch that. A hit is believed only if the element's generation did not change while its
// key was compared; a miss only if the bucket's version did not change during the walk. Otherwise the walk is repeated,
// and after a few times done under the lock.
//
// Buckets are dealt to 64 stripes. A stripe has the lock of its buckets and, under it, all that writers need: a list of
// elements that were freed there, and one spare element. Replacing a value fills the spare and links it in the old
// element's place, which becomes the spare; so readers see the old value or the new one, never half of each, and an
// update costs one atomic exchange. Per-CPU values lie apart, by CPU, and are overwritten in place.
//
// Machine code walks chains by itself (base/map_view.hpp says how), so the layout of buckets and elements and the
// hash of keys up to 16 bytes are that file's.
//
// Elements come from the stripe's list, then from the untouched rest of the pool, which costs no memory until then,
// then from the lists of other stripes. Elements are never given back to the system, so a pointer into one is always
// valid. Source: the guarantees are those of kernel/bpf/hashtab.c with preallocation; the algorithm is our own.
#pragma once
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <skep/result.hpp>
#include <skep/types.hpp>

#include "map/map.hpp"
#include "map/memory.hpp"
#include "map/spin_lock.hpp"
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
  /// find() when the chain changed under it: tries again, then under the lock.
  template <u32 KeySize>
  Ref find_again(u32 hash, const void* key) noexcept;
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
  template <u32 KeySize = 0>
  s64 update(const void* key, const void* value, u64 flags, u32 cpu) noexcept;
  template <u32 KeySize = 0>
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
  /// Which parts of values only helpers touch; before there are elements. Outlives the table.
  void set_fields(const Fields* fields) noexcept { fields_ = fields; }
  /// Calls a function of the fields for every value there is or was.
  void each_value(void (Fields::*visit)(void* value) const noexcept) noexcept;
  /// The key of the element that has the value (one value an element).
  void key_of(const void* value, void* key) const noexcept {
    load_words(key, static_cast<const std::byte*>(value) - value_offset_ + sizeof(Header), key_size_);
  }
  u64 bucket_count() const noexcept { return bucket_count_; }
  /// Adds to `view` how to look keys up in here; keys of more than 16 bytes: nothing.
  void describe(base::MapView& view) const noexcept;

  /// Elements that are in the table; other threads may be changing it.
  u32 count() const noexcept;
  u64 memory_bytes() const noexcept { return region_.resident_bytes(); }

 private:
  struct Header {
    std::atomic<u32> next;  ///< Ref of the chain's next element
    std::atomic<u32> hash;
    std::atomic<u32> generation;  ///< odd while the element is being written
    std::atomic<u32> free_next;   ///< Ref of the pool's next free element
  };
  static_assert(offsetof(Header, next) == base::HashView::next_at && sizeof(Header) == base::HashView::key_at &&
                offsetof(Header, generation) == base::HashView::generation_at);
  struct alignas(64) Stripe {
    std::atomic<u32> locked;
    Ref spare;      ///< what the next replacement fills; 0: the one that belongs to the stripe from the start
    Ref free_head;  ///< freed elements
    std::atomic<u32> free_count;
  };
  struct alignas(64) Shared {
    std::atomic<u32> fresh;  ///< elements that were taken at least once, spares not among them
    std::atomic<u32> hand;   ///< LRU: where the next search for an old element starts
    std::atomic<u32> freed;  ///< 0: no stripe has a freed element (tables that evict; a hint)
  };
  /// A bucket whose stripe is locked; the chain changes only under it.
  struct Locked {
    std::atomic<u64>* bucket;
    Stripe* stripe;
    u64 word;
    Ref head() const noexcept { return static_cast<Ref>(word); }
  };
  struct Place {
    Ref ref = 0, before = 0;
  };
  static constexpr u32 stripe_count = 64;
  static constexpr u64 version_step = u64{1} << 32;

  HashTable(const HashShape& shape, Region region) noexcept;

  std::byte* element(Ref ref) const noexcept { return elements_ + u64{ref - 1} * element_stride_; }
  Header& header(Ref ref) const noexcept { return *reinterpret_cast<Header*>(element(ref)); }
  std::byte* key_of(Ref ref) const noexcept { return element(ref) + sizeof(Header); }
  u64 bucket_number(u32 hash) const noexcept { return u64{hash} >> bucket_shift_; }
  std::atomic<u64>& bucket_of(u32 hash) const noexcept { return buckets_[bucket_number(hash)]; }

  /// Comparing the key takes no longer than comparing the hash.
  template <u32 KeySize>
  static constexpr bool key_is_hash = KeySize != 0 && KeySize <= 8;
  template <u32 KeySize>
  u32 hash_of(const void* key) const noexcept;
  template <u32 KeySize>
  bool key_equals(std::byte* ours, const void* key) const noexcept;
  template <u32 KeySize>
  bool walk(const std::atomic<u64>& bucket, u32 hash, const void* key, Ref& found) const noexcept;

  Locked lock(u32 hash) noexcept;
  Locked lock_bucket(u64 bucket) noexcept;
  static void wait_for(Stripe& stripe) noexcept;
  static void unlock(const Locked& locked) noexcept;
  /// Publishes a chain; the stripe stays locked.
  static void set_head(const Locked& locked, Ref head) noexcept;
  template <u32 KeySize>
  Place search(const Locked& locked, u32 hash, const void* key) const noexcept;
  void unlink(const Locked& locked, Place place) noexcept;

  Ref take(Stripe& stripe) noexcept;
  void give_back(Stripe& stripe, Ref ref) noexcept;
  Ref take_elsewhere() noexcept;
  Ref evict_one() noexcept;
  template <u32 KeySize>
  void fill(Ref ref, u32 hash, const void* key, const void* value, u32 cpu, bool used) noexcept;
  void write(std::byte* to, const void* from, u64 size) const noexcept {
    if (fields_ == nullptr) [[likely]]
      return store_words<std::memory_order_release>(to, from, size);
    fields_->release(to);  // a program that still had the element's address may have put something there
    fields_->store(to, from);
  }
  /// The element left its chain: what its value's fields hold goes.
  void release(Ref ref) const noexcept {
    if (fields_ == nullptr) [[likely]]
      return;
    for (u32 cpu = 0; cpu < (cpus_ == 0 ? 1 : cpus_); ++cpu) fields_->release(value(ref, cpu));
  }
  void write_percpu(Ref ref, const void* value, u32 cpu) noexcept;
  template <u32 KeySize>
  void replace(Locked& locked, Place place, u32 hash, const void* key, const void* value, u32 cpu) noexcept;
  template <u32 KeySize>
  s64 insert(Locked locked, Place place, u32 hash, const void* key, const void* from, u64 flags, u32 cpu) noexcept;
  void copy_value(Ref ref, void* to) const noexcept;

  Region region_;
  std::atomic<u64>* buckets_ = nullptr;
  u64 bucket_count_ = 0;   ///< a power of two
  u32 bucket_shift_ = 32;  ///< a bucket is the highest bits of the hash
  u32 key_size_ = 0;
  u64 seeds_[2] = {};
  std::byte* elements_ = nullptr;
  u64 element_stride_ = 0;
  u64 value_offset_ = 0;
  u32 value_size_ = 0;
  u32 max_entries_ = 0;
  u32 cpus_ = 0;
  bool evicts_ = false;
  std::byte* percpu_ = nullptr;
  u64 cpu_stride_ = 0;
  u64 value_stride_ = 0;
  std::atomic<u8>* used_ = nullptr;
  Shared* shared_ = nullptr;
  Stripe* stripes_ = nullptr;
  const Fields* fields_ = nullptr;
};

namespace detail {
inline u64 fold(u64 a, u64 b) noexcept {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<u64>(product) ^ static_cast<u64>(product >> 64);
}
inline constexpr u64 odd_1 = 0x9e3779b97f4a7c15, odd_2 = 0xd6e8feb86659fd93;
}  // namespace detail

/// A key as words, zero above its end. The size is known at compile time where it matters.
inline u64 key_word(const std::byte* bytes, u32 offset, u32 size) noexcept {
  u64 word = 0;
  std::memcpy(&word, bytes + offset, std::min(size - offset, 8u));
  return word;
}

/// The upper half of HashView's hash; longer keys become two words first.
template <u32 KeySize>
u32 HashTable::hash_of(const void* key) const noexcept {
  using base::HashView;
  const u32 size = KeySize != 0 ? KeySize : key_size_;
  const auto* bytes = static_cast<const std::byte*>(key);
  if (size <= 8) return static_cast<u32>(HashView::hash_of_word(key_word(bytes, 0, size), seeds_[0]) >> 32);
  u64 first = key_word(bytes, 0, size);
  u32 offset = 8;
  for (; offset + 8 < size; offset += 8) first = HashView::product(first, key_word(bytes, offset, size), seeds_);
  return static_cast<u32>(HashView::hash_of_words(first, key_word(bytes, offset, size), seeds_) >> 32);
}

template <u32 KeySize>
bool HashTable::key_equals(std::byte* ours, const void* key) const noexcept {
  const u32 size = KeySize != 0 ? KeySize : key_size_;
  const auto* bytes = static_cast<const std::byte*>(key);
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
[[gnu::always_inline]] inline bool HashTable::walk(const std::atomic<u64>& bucket, u32 hash, const void* key,
                                                   Ref& found) const noexcept {
  const u64 before = bucket.load(std::memory_order_acquire);
  // A walk that strays from chain to chain still ends: its length is bounded.
  u32 steps = 0;
  for (Ref ref = static_cast<Ref>(before); ref != 0; ++steps) {
    if (steps == 4096) return false;
    std::byte* const start = element(ref);
    const Header& at = *reinterpret_cast<const Header*>(start);
    const u32 generation = at.generation.load(std::memory_order_acquire);
    if ((key_is_hash<KeySize> || at.hash.load(std::memory_order_acquire) == hash) && (generation & 1) == 0 &&
        key_equals<KeySize>(start + sizeof(Header), key) &&
        at.generation.load(std::memory_order_relaxed) == generation) {
      found = ref;
      return true;
    }
    ref = at.next.load(std::memory_order_acquire);
  }
  found = 0;
  std::atomic_thread_fence(std::memory_order_acquire);
  return bucket.load(std::memory_order_relaxed) == before;
}

/// One walk nearly always answers; it is written into the caller, so that a look-up is one call from machine code and
/// needs no stack.
template <u32 KeySize>
[[gnu::always_inline]] inline HashTable::Ref HashTable::find(const void* key) noexcept {
  const u32 hash = hash_of<KeySize>(key);
  Ref found = 0;
  if (walk<KeySize>(bucket_of(hash), hash, key, found)) [[likely]]
    return found;
  return find_again<KeySize>(hash, key);
}

template <u32 KeySize>
[[gnu::noinline]] HashTable::Ref HashTable::find_again(u32 hash, const void* key) noexcept {
  for (int attempts = 0; attempts < 16; ++attempts) {
    Ref found = 0;
    if (walk<KeySize>(bucket_of(hash), hash, key, found)) return found;
  }
  const Locked locked = lock(hash);
  const Place place = search<KeySize>(locked, hash, key);
  unlock(locked);
  return place.ref;
}

template <u32 KeySize>
HashTable::Place HashTable::search(const Locked& locked, u32 hash, const void* key) const noexcept {
  Place place{locked.head(), 0};
  while (place.ref != 0) {
    const Header& at = header(place.ref);
    if (key_is_hash<KeySize> || at.hash.load(std::memory_order_relaxed) == hash)
      if (key_equals<KeySize>(key_of(place.ref), key)) break;
    place.before = place.ref;
    place.ref = at.next.load(std::memory_order_relaxed);
  }
  return place;
}

/// Writes an element that is in no chain. Readers that strayed onto it see the odd generation and do not believe it.
template <u32 KeySize>
[[gnu::always_inline]] inline void HashTable::fill(Ref ref, u32 hash, const void* key, const void* from, u32 cpu,
                                                   bool used) noexcept {
  Header& at = header(ref);
  const u32 generation = at.generation.load(std::memory_order_relaxed);
  at.generation.store(generation + 1, std::memory_order_relaxed);
  at.hash.store(hash, std::memory_order_release);
  store_words<std::memory_order_release>(key_of(ref), key, KeySize != 0 ? KeySize : key_size_);
  if (cpus_ == 0) {
    write(value(ref), from, value_size_);
  } else {
    if (cpu != all_cpus && generation != 0)  // never used before: all zero
      for (u32 each = 0; each < cpus_; ++each)
        if (each != cpu) clear_words(value(ref, each), value_stride_);  // its fields are at rest
    write_percpu(ref, from, cpu);
  }
  if (evicts_) used_[ref - 1].store(used ? 1 : 0, std::memory_order_relaxed);
  at.generation.store(generation + 2, std::memory_order_release);
}

template <u32 KeySize>
[[gnu::always_inline]] inline void HashTable::replace(Locked& locked, Place place, u32 hash, const void* key,
                                                      const void* from, u32 cpu) noexcept {
  if (cpus_ != 0) {
    write_percpu(place.ref, from, cpu);
    if (evicts_) touch(place.ref);
    return;
  }
  Ref& spare = locked.stripe->spare;
  const Ref made = spare != 0 ? spare : max_entries_ + 1 + static_cast<Ref>(locked.stripe - stripes_);
  fill<KeySize>(made, hash, key, from, cpu, true);
  const Ref after = header(place.ref).next.load(std::memory_order_relaxed);
  header(made).next.store(after, std::memory_order_release);
  if (place.before != 0) header(place.before).next.store(made, std::memory_order_release);
  set_head(locked, place.before == 0 ? made : locked.head());
  spare = place.ref;
  release(place.ref);
}

/// The commonest update, of a key that is there, is written into the caller.
template <u32 KeySize>
s64 HashTable::update(const void* key, const void* from, u64 flags, u32 cpu) noexcept {
  if (flags > update_exist) return -EINVAL;
  const u32 hash = hash_of<KeySize>(key);
  Locked locked = lock(hash);
  const Place place = search<KeySize>(locked, hash, key);
  if (place.ref == 0 || flags == update_noexist) [[unlikely]]
    return insert<KeySize>(locked, place, hash, key, from, flags, cpu);
  replace<KeySize>(locked, place, hash, key, from, cpu);
  unlock(locked);
  return 0;
}

/// The rest of update(): gives the lock back.
template <u32 KeySize>
[[gnu::noinline]] s64 HashTable::insert(Locked locked, Place place, u32 hash, const void* key, const void* from,
                                        u64 flags, u32 cpu) noexcept {
  Ref mine = 0;  // an element from elsewhere, for the second round
  for (;;) {
    const bool is_there = place.ref != 0;
    if (!is_there && flags != update_exist) {
      if (mine == 0) mine = take(*locked.stripe);
      if (mine == 0) {
        // Two stripes are never locked at once: an element is found first, then everything is looked at again.
        unlock(locked);
        mine = take_elsewhere();
        if (mine == 0) return evicts_ ? -ENOMEM : -E2BIG;
        locked = lock(hash);
        place = search<KeySize>(locked, hash, key);
        continue;
      }
      fill<KeySize>(mine, hash, key, from, cpu, false);
      header(mine).next.store(locked.head(), std::memory_order_release);
      set_head(locked, mine);
      unlock(locked);
      return 0;
    }
    if (mine != 0) give_back(*locked.stripe, mine);
    const s64 refused = is_there ? (flags == update_noexist ? -EEXIST : 0) : -ENOENT;
    if (refused == 0) replace<KeySize>(locked, place, hash, key, from, cpu);
    unlock(locked);
    return refused;
  }
}

template <u32 KeySize>
s64 HashTable::erase(const void* key) noexcept {
  const u32 hash = hash_of<KeySize>(key);
  const Locked locked = lock(hash);
  const Place place = search<KeySize>(locked, hash, key);
  if (place.ref != 0) {
    unlink(locked, place);
    give_back(*locked.stripe, place.ref);
  }
  unlock(locked);
  return place.ref != 0 ? 0 : -ENOENT;
}

inline HashTable::Locked HashTable::lock(u32 hash) noexcept { return lock_bucket(bucket_number(hash)); }

inline HashTable::Locked HashTable::lock_bucket(u64 bucket) noexcept {
  Stripe& stripe = stripes_[bucket % stripe_count];
  if (stripe.locked.exchange(1, std::memory_order_acquire) != 0) [[unlikely]]
    wait_for(stripe);
  return {&buckets_[bucket], &stripe, buckets_[bucket].load(std::memory_order_relaxed)};
}

inline void HashTable::unlock(const Locked& locked) noexcept {
  locked.stripe->locked.store(0, std::memory_order_release);
}

inline void HashTable::set_head(const Locked& locked, Ref head) noexcept {
  const u64 version = (locked.word & ~(version_step - 1)) + version_step;
  locked.bucket->store(version | head, std::memory_order_release);
}

}  // namespace skep::map
