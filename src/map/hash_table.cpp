// Writers of the hash table: insert, replace, remove, evict, iterate. See hash_table.hpp.
#include "map/hash_table.hpp"

#include <sched.h>

#include <bit>
#include <cerrno>

#include "map/map.hpp"
#include "map/spin_lock.hpp"

namespace skep::map {

namespace {

struct Layout {
  u64 element_stride, value_offset, value_stride, cpu_stride, capacity;
  u64 buckets_at, elements_at, percpu_at, used_at, total;
};

/// Where the parts of a table lie in its one region. All numbers were bounded by check(): at most 2^27 entries of
/// at most 4 MiB, 65536 CPUs of 32 KiB: no sum wraps.
Layout layout_of(const HashShape& shape, u64 header_bytes, u64 counter_bytes, u64 in_flight) noexcept {
  Layout layout{};
  layout.capacity = u64{shape.max_entries} + in_flight;
  layout.value_offset = header_bytes + round_up(shape.key_size, 8);
  layout.value_stride = round_up(shape.value_size, 8);
  layout.element_stride = layout.value_offset + (shape.cpus == 0 ? layout.value_stride : 0);
  layout.cpu_stride = round_up(layout.capacity * layout.value_stride, 64);
  layout.buckets_at = counter_bytes;
  layout.elements_at = round_up(layout.buckets_at + std::bit_ceil(u64{shape.max_entries}) * sizeof(u64), 64);
  layout.percpu_at = round_up(layout.elements_at + layout.capacity * layout.element_stride, 64);
  layout.used_at = layout.percpu_at + layout.cpu_stride * shape.cpus;
  layout.total = layout.used_at + (shape.evicts ? layout.capacity : 0);
  return layout;
}

}  // namespace

Result<HashTable> HashTable::create(const HashShape& shape) {
  const Layout layout = layout_of(shape, sizeof(Header), sizeof(Counters), in_flight);
  auto region = SKEP_TRY(Region::allocate(layout.total));
  return HashTable(shape, std::move(region));
}

HashTable::HashTable(const HashShape& shape, Region region) noexcept
    : region_(std::move(region)),
      bucket_mask_(static_cast<u32>(std::bit_ceil(u64{shape.max_entries}) - 1)),
      key_size_(shape.key_size),
      seed_(shape.seed),
      value_size_(shape.value_size),
      max_entries_(shape.max_entries),
      cpus_(shape.cpus),
      evicts_(shape.evicts) {
  // Zero bytes are an empty table: nothing is written here, so nothing is paid for.
  const Layout layout = layout_of(shape, sizeof(Header), sizeof(Counters), in_flight);
  std::byte* base = region_.data();
  counters_ = reinterpret_cast<Counters*>(base);
  buckets_ = reinterpret_cast<std::atomic<u64>*>(base + layout.buckets_at);
  elements_ = base + layout.elements_at;
  percpu_ = base + layout.percpu_at;
  used_ = reinterpret_cast<std::atomic<u8>*>(base + layout.used_at);
  element_stride_ = layout.element_stride;
  value_offset_ = layout.value_offset;
  value_stride_ = layout.value_stride;
  cpu_stride_ = layout.cpu_stride;
  capacity_ = static_cast<u32>(layout.capacity);
}

// --- buckets ---

HashTable::Locked HashTable::lock(std::atomic<u64>& bucket) noexcept {
  for (u32 spins = 0;; ++spins) {
    u64 word = bucket.load(std::memory_order_relaxed);
    if ((word & lock_bit) == 0 &&
        bucket.compare_exchange_weak(word, word | lock_bit, std::memory_order_acquire, std::memory_order_relaxed))
      return {&bucket, word};
    pause_briefly(spins);
  }
}

void HashTable::unlock(const Locked& locked) noexcept { locked.bucket->store(locked.word, std::memory_order_release); }

void HashTable::unlock_changed(const Locked& locked, Ref head) noexcept {
  const u64 version = (locked.word & ~(version_step - 1)) + version_step;
  locked.bucket->store(version | head, std::memory_order_release);
}

HashTable::Place HashTable::search(const Locked& locked, u32 hash, const void* key) const noexcept {
  Place place{locked.head(), 0};
  while (place.ref != 0) {
    const Header& at = header(place.ref);
    if (at.hash.load(std::memory_order_relaxed) == hash && key_equals<0>(place.ref, key)) break;
    place.before = place.ref;
    place.ref = at.next.load(std::memory_order_relaxed);
  }
  return place;
}

void HashTable::unlink_and_unlock(const Locked& locked, Place place) noexcept {
  const Ref after = header(place.ref).next.load(std::memory_order_relaxed);
  Ref head = locked.head();
  if (place.before == 0)
    head = after;
  else
    header(place.before).next.store(after, std::memory_order_release);
  unlock_changed(locked, head);
}

// --- the pool ---

HashTable::Taken HashTable::take() noexcept {
  auto& list = counters_->free_list;
  for (;;) {
    u64 top = list.load(std::memory_order_acquire);
    while (static_cast<Ref>(top) != 0) {
      const Ref ref = static_cast<Ref>(top);
      const u64 next = header(ref).free_next.load(std::memory_order_relaxed);
      const u64 tag = (top >> 32) + 1;
      if (list.compare_exchange_weak(top, tag << 32 | next, std::memory_order_acq_rel, std::memory_order_acquire))
        return {ref, false};
    }
    u32 fresh = counters_->fresh.load(std::memory_order_relaxed);
    while (fresh < capacity_)
      if (counters_->fresh.compare_exchange_weak(fresh, fresh + 1, std::memory_order_relaxed)) return {fresh + 1, true};
    // More threads than spare elements replace values at this moment: one of them is about to give one back.
    ::sched_yield();
  }
}

void HashTable::give_back(Ref ref) noexcept {
  auto& list = counters_->free_list;
  u64 top = list.load(std::memory_order_relaxed);
  u64 mine = 0;
  do {
    header(ref).free_next.store(static_cast<Ref>(top), std::memory_order_relaxed);
    mine = ((top >> 32) + 1) << 32 | ref;
  } while (!list.compare_exchange_weak(top, mine, std::memory_order_release, std::memory_order_relaxed));
}

bool HashTable::count_one_more() noexcept {
  u32 live = counters_->live.load(std::memory_order_relaxed);
  while (live < max_entries_)
    if (counters_->live.compare_exchange_weak(live, live + 1, std::memory_order_relaxed)) return true;
  return false;
}

// --- writing ---

void HashTable::write_percpu(Ref ref, const void* from, u32 cpu) noexcept {
  if (cpu != all_cpus) {
    store_words(value(ref, cpu), from, value_size_);
    return;
  }
  for (u32 each = 0; each < cpus_; ++each)
    store_words(value(ref, each), static_cast<const std::byte*>(from) + value_stride_ * each, value_stride_);
}

/// Writes an element that is in no chain. Readers that strayed onto it see the odd generation and do not believe it.
void HashTable::fill(Taken taken, u32 hash, const void* key, const void* from, u32 cpu) noexcept {
  Header& at = header(taken.ref);
  const u32 generation = at.generation.load(std::memory_order_relaxed);
  at.generation.store(generation + 1, std::memory_order_relaxed);
  at.hash.store(hash, std::memory_order_release);
  store_words<std::memory_order_release>(key_of(taken.ref), key, key_size_);
  if (cpus_ == 0) {
    store_words<std::memory_order_release>(value(taken.ref), from, value_size_);
  } else {
    if (cpu != all_cpus && !taken.fresh)
      for (u32 each = 0; each < cpus_; ++each)
        if (each != cpu) clear_words(value(taken.ref, each), value_stride_);
    write_percpu(taken.ref, from, cpu);
  }
  if (evicts_) used_[taken.ref - 1].store(0, std::memory_order_relaxed);
  at.generation.store(generation + 2, std::memory_order_release);
}

s64 HashTable::replace(Locked& locked, Place place, u32 hash, const void* key, const void* from, u32 cpu) noexcept {
  if (cpus_ != 0) {
    write_percpu(place.ref, from, cpu);
    unlock(locked);
    return 0;
  }
  const Taken taken = take();
  fill(taken, hash, key, from, cpu);
  const Ref after = header(place.ref).next.load(std::memory_order_relaxed);
  header(taken.ref).next.store(after, std::memory_order_release);
  Ref head = locked.head();
  if (place.before == 0)
    head = taken.ref;
  else
    header(place.before).next.store(taken.ref, std::memory_order_release);
  unlock_changed(locked, head);
  give_back(place.ref);
  return 0;
}

s64 HashTable::update(const void* key, const void* from, u64 flags, u32 cpu) noexcept {
  if (flags > update_exist) return -EINVAL;
  const u32 hash = hash_of<0>(key);
  std::atomic<u64>& bucket = bucket_of(hash);
  for (int evictions = 0;; ++evictions) {
    Locked locked = lock(bucket);
    const Place place = search(locked, hash, key);
    if (place.ref != 0) {
      if (flags != update_noexist) return replace(locked, place, hash, key, from, cpu);
      unlock(locked);
      return -EEXIST;
    }
    if (flags == update_exist) {
      unlock(locked);
      return -ENOENT;
    }
    if (count_one_more()) {
      const Taken taken = take();
      fill(taken, hash, key, from, cpu);
      header(taken.ref).next.store(locked.head(), std::memory_order_release);
      unlock_changed(locked, taken.ref);
      return 0;
    }
    unlock(locked);
    if (!evicts_) return -E2BIG;
    // Two buckets are never locked at once: room is made first, then everything is looked at again.
    if (evictions == 64 || !evict_one()) return -ENOMEM;
  }
}

s64 HashTable::erase(const void* key) noexcept {
  const u32 hash = hash_of<0>(key);
  const Locked locked = lock(bucket_of(hash));
  const Place place = search(locked, hash, key);
  if (place.ref == 0) {
    unlock(locked);
    return -ENOENT;
  }
  unlink_and_unlock(locked, place);
  give_back(place.ref);
  counters_->live.fetch_sub(1, std::memory_order_relaxed);
  return 0;
}

/// Removes an element that was not used since the hand last passed it: the clock form of "least recently used". The
/// kernel approximates too (active and inactive lists), so which element goes is not promised by either.
bool HashTable::evict_one() noexcept {
  const u32 elements = counters_->fresh.load(std::memory_order_relaxed);
  if (elements == 0) return false;
  for (u64 step = 0; step < u64{elements} * 2 + in_flight; ++step) {
    const Ref ref = counters_->hand.fetch_add(1, std::memory_order_relaxed) % elements + 1;
    if (used_[ref - 1].load(std::memory_order_relaxed) != 0) {
      used_[ref - 1].store(0, std::memory_order_relaxed);
      continue;
    }
    const u32 hash = header(ref).hash.load(std::memory_order_relaxed);
    const Locked locked = lock(bucket_of(hash));
    Place place{locked.head(), 0};
    while (place.ref != 0 && place.ref != ref) {
      place.before = place.ref;
      place.ref = header(place.ref).next.load(std::memory_order_relaxed);
    }
    if (place.ref == 0) {  // free, or on its way to somewhere else
      unlock(locked);
      continue;
    }
    unlink_and_unlock(locked, place);
    give_back(ref);
    counters_->live.fetch_sub(1, std::memory_order_relaxed);
    return true;
  }
  // Others emptied the table meanwhile, or used everything in it: the caller looks again.
  return true;
}

// --- the host ---

s64 HashTable::copy(const void* key, void* to) noexcept {
  for (int attempts = 0;; ++attempts) {
    const Ref ref = find<0>(key);
    if (ref == 0) return -ENOENT;
    const u32 generation = header(ref).generation.load(std::memory_order_acquire);
    copy_value(ref, to);
    // The element may have become another key's before the copy began: the key is compared after it.
    const bool same = (generation & 1) == 0 && key_equals<0>(ref, key) &&
                      header(ref).generation.load(std::memory_order_acquire) == generation;
    if (same || attempts == 1000) return same ? 0 : -EBUSY;
  }
}

void HashTable::copy_value(Ref ref, void* to) const noexcept {
  if (cpus_ == 0) return load_words<std::memory_order_acquire>(to, value(ref), value_size_);
  for (u32 cpu = 0; cpu < cpus_; ++cpu)
    load_words<std::memory_order_acquire>(static_cast<std::byte*>(to) + value_stride_ * cpu, value(ref, cpu),
                                          value_stride_);
}

s64 HashTable::take_out(const void* key, void* to) noexcept {
  const u32 hash = hash_of<0>(key);
  const Locked locked = lock(bucket_of(hash));
  const Place place = search(locked, hash, key);
  if (place.ref == 0) {
    unlock(locked);
    return -ENOENT;
  }
  copy_value(place.ref, to);
  unlink_and_unlock(locked, place);
  give_back(place.ref);
  counters_->live.fetch_sub(1, std::memory_order_relaxed);
  return 0;
}

s64 HashTable::copy_bucket(u32 bucket, std::byte* keys, std::byte* values, u32 value_bytes, u32 room,
                           bool remove) noexcept {
  if (static_cast<Ref>(buckets_[bucket].load(std::memory_order_relaxed)) == 0) return 0;
  const Locked locked = lock(buckets_[bucket]);
  u32 count = 0;
  for (Ref ref = locked.head(); ref != 0; ref = header(ref).next.load(std::memory_order_relaxed)) ++count;
  if (count > room) {
    unlock(locked);
    return -ENOSPC;
  }
  u64 index = 0;
  for (Ref ref = locked.head(); ref != 0; ref = header(ref).next.load(std::memory_order_relaxed), ++index) {
    load_words(keys + index * key_size_, key_of(ref), key_size_);
    copy_value(ref, values + index * value_bytes);
  }
  if (!remove) {
    unlock(locked);
    return count;
  }
  unlock_changed(locked, 0);
  for (Ref ref = locked.head(); ref != 0;) {  // the chain is nobody else's any more
    const Ref next = header(ref).next.load(std::memory_order_relaxed);
    give_back(ref);
    ref = next;
  }
  counters_->live.fetch_sub(count, std::memory_order_relaxed);
  return count;
}

s64 HashTable::next_key(const void* key, void* next) noexcept {
  u64 index = 0;
  if (key != nullptr) {
    const u32 hash = hash_of<0>(key);
    const Locked locked = lock(bucket_of(hash));
    const Place place = search(locked, hash, key);
    const Ref after = place.ref != 0 ? header(place.ref).next.load(std::memory_order_relaxed) : 0;
    if (after != 0) load_words(next, key_of(after), key_size_);
    unlock(locked);
    if (after != 0) return 0;
    // A key that is gone starts over from the first: as in the kernel.
    if (place.ref != 0) index = u64{hash & bucket_mask_} + 1;
  }
  for (; index <= bucket_mask_; ++index) {
    if (static_cast<Ref>(buckets_[index].load(std::memory_order_relaxed)) == 0) continue;
    const Locked locked = lock(buckets_[index]);
    const Ref first = locked.head();
    if (first != 0) load_words(next, key_of(first), key_size_);
    unlock(locked);
    if (first != 0) return 0;
  }
  return -ENOENT;
}

}  // namespace skep::map
