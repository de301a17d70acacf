// Writers of the hash table: insert, replace, remove, evict, iterate. See hash_table.hpp.
#include "map/hash_table.hpp"

#include <sched.h>

#include <bit>
#include <cerrno>

#include "map/hash_multiplier.hpp"
#include "map/map.hpp"
#include "map/spin_lock.hpp"

namespace skep::map {

namespace {

/// Two for each entry: most chains then have one element, and a look-up seldom guesses wrong where its chain ends.
u64 buckets_of(const HashShape& shape) noexcept { return std::bit_ceil(u64{shape.max_entries}) * 2; }

struct Layout {
  u64 element_stride, value_offset, value_stride, cpu_stride, capacity;
  u64 stripes_at, buckets_at, elements_at, percpu_at, used_at, total;
};

/// Where the parts of a table lie in its one region. All numbers were bounded by check(): at most 2^27 entries of
/// at most 4 MiB, 65536 CPUs of 32 KiB: no sum wraps.
Layout layout_of(const HashShape& shape, u64 header_bytes, u64 shared_bytes, u64 stripe_bytes, u64 spares) noexcept {
  Layout layout{};
  layout.capacity = u64{shape.max_entries} + spares;
  layout.value_offset = header_bytes + round_up(shape.key_size, 8);
  layout.value_stride = round_up(shape.value_size, 8);
  layout.element_stride = layout.value_offset + (shape.cpus == 0 ? layout.value_stride : 0);
  layout.cpu_stride = round_up(layout.capacity * layout.value_stride, 64);
  layout.stripes_at = shared_bytes;
  layout.buckets_at = layout.stripes_at + stripe_bytes;
  layout.elements_at = round_up(layout.buckets_at + buckets_of(shape) * sizeof(u64), 64);
  layout.percpu_at = round_up(layout.elements_at + layout.capacity * layout.element_stride, 64);
  layout.used_at = layout.percpu_at + layout.cpu_stride * shape.cpus;
  layout.total = layout.used_at + (shape.evicts ? layout.capacity : 0);
  return layout;
}

}  // namespace

Result<HashTable> HashTable::create(const HashShape& shape) {
  const Layout layout = layout_of(shape, sizeof(Header), sizeof(Shared), sizeof(Stripe) * stripe_count, stripe_count);
  auto region = SKEP_TRY(Region::allocate(layout.total));
  return HashTable(shape, std::move(region));
}

HashTable::HashTable(const HashShape& shape, Region region) noexcept
    : region_(std::move(region)),
      bucket_count_(buckets_of(shape)),
      bucket_shift_(32 - static_cast<u32>(std::countr_zero(bucket_count_))),
      key_size_(shape.key_size),
      seeds_{hash_multiplier(shape.seed, shape.key_size <= 8 ? shape.max_entries : 1),
             detail::odd_2 ^ std::rotl(shape.seed, 32)},
      value_size_(shape.value_size),
      max_entries_(shape.max_entries),
      cpus_(shape.cpus),
      evicts_(shape.evicts) {
  // Zero bytes are an empty table: nothing is written here, so nothing is paid for.
  const Layout layout = layout_of(shape, sizeof(Header), sizeof(Shared), sizeof(Stripe) * stripe_count, stripe_count);
  std::byte* base = region_.data();
  shared_ = reinterpret_cast<Shared*>(base);
  stripes_ = reinterpret_cast<Stripe*>(base + layout.stripes_at);
  buckets_ = reinterpret_cast<std::atomic<u64>*>(base + layout.buckets_at);
  elements_ = base + layout.elements_at;
  percpu_ = base + layout.percpu_at;
  used_ = reinterpret_cast<std::atomic<u8>*>(base + layout.used_at);
  element_stride_ = layout.element_stride;
  value_offset_ = layout.value_offset;
  value_stride_ = layout.value_stride;
  cpu_stride_ = layout.cpu_stride;
}

void HashTable::describe(base::MapView& view) const noexcept {
  if (key_size_ > 16) return;
  const auto address = [](const void* pointer) { return reinterpret_cast<u64>(pointer); };
  view.kind = base::MapView::Kind::hash;
  view.stride = static_cast<u32>(cpus_ == 0 ? element_stride_ : value_stride_);
  view.values = cpus_ == 0 ? address(elements_) - element_stride_ + value_offset_ : address(percpu_) - value_stride_;
  view.cpu_stride = cpus_ == 0 ? 0 : cpu_stride_;
  view.hash = {.buckets = address(buckets_),
               .elements = address(elements_) - element_stride_,
               .element_stride = static_cast<u32>(element_stride_),
               .hash_shift = bucket_shift_ + 32,
               .seeds = {seeds_[0], seeds_[1]},
               .used = evicts_ ? address(used_) - 1 : 0};
}

u32 HashTable::count() const noexcept {
  u32 free = 0;
  for (u32 i = 0; i < stripe_count; ++i) free += stripes_[i].free_count.load(std::memory_order_relaxed);
  const u32 taken = shared_->fresh.load(std::memory_order_relaxed);
  return taken > free ? taken - free : 0;
}

void HashTable::unlink(const Locked& locked, Place place) noexcept {
  const Ref after = header(place.ref).next.load(std::memory_order_relaxed);
  Ref head = locked.head();
  if (place.before == 0)
    head = after;
  else
    header(place.before).next.store(after, std::memory_order_release);
  set_head(locked, head);
}

// --- the pool ---

/// From the stripe's own list or the untouched rest. 0: there is none.
HashTable::Ref HashTable::take(Stripe& stripe) noexcept {
  if (const Ref ref = stripe.free_head; ref != 0) {
    stripe.free_head = header(ref).free_next.load(std::memory_order_relaxed);
    stripe.free_count.store(stripe.free_count.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    return ref;
  }
  u32 fresh = shared_->fresh.load(std::memory_order_relaxed);
  while (fresh < max_entries_)
    if (shared_->fresh.compare_exchange_weak(fresh, fresh + 1, std::memory_order_relaxed)) return fresh + 1;
  return 0;
}

void HashTable::give_back(Stripe& stripe, Ref ref) noexcept {
  release(ref);
  header(ref).free_next.store(stripe.free_head, std::memory_order_relaxed);
  stripe.free_head = ref;
  stripe.free_count.store(stripe.free_count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  // Mostly set already, so that writers of different stripes do not meet here.
  if (shared_->freed.load(std::memory_order_relaxed) == 0) shared_->freed.store(1, std::memory_order_release);
}

/// No stripe is locked. From the list of any stripe; tables that evict take an element out of a chain. 0: the table is
/// full.
HashTable::Ref HashTable::take_elsewhere() noexcept {
  // A table that evicts is full nearly always: it is searched for freed elements only when some were freed. Should this
  // thread not see the last one yet, an element goes a little early.
  const bool search = !evicts_ || shared_->freed.exchange(0, std::memory_order_acquire) != 0;
  for (u32 i = 0; search && i < stripe_count; ++i) {
    if (stripes_[i].free_count.load(std::memory_order_relaxed) == 0) continue;
    const Locked locked = lock_bucket(i & (bucket_count_ - 1));
    const Ref ref = locked.stripe->free_head != 0 ? take(*locked.stripe) : 0;
    unlock(locked);
    if (ref == 0) continue;
    shared_->freed.store(1, std::memory_order_relaxed);  // there may be more
    return ref;
  }
  for (int attempts = 0; evicts_ && attempts < 64; ++attempts)
    if (const Ref ref = evict_one(); ref != 0) return ref;
  return 0;
}

void HashTable::wait_for(Stripe& stripe) noexcept {
  u32 spins = 0;
  do
    while (stripe.locked.load(std::memory_order_relaxed) != 0) pause_briefly(spins++);
  while (stripe.locked.exchange(1, std::memory_order_acquire) != 0);
}

// --- writing ---

void HashTable::write_percpu(Ref ref, const void* from, u32 cpu) noexcept {
  if (cpu != all_cpus) {
    write(value(ref, cpu), from, value_size_);
    return;
  }
  for (u32 each = 0; each < cpus_; ++each)
    write(value(ref, each), static_cast<const std::byte*>(from) + value_stride_ * each, value_stride_);
}

/// Removes an element that was not used since the hand last passed it and returns it: the clock form of "least recently
/// used". The kernel approximates too: its active and inactive lists give one second chance as well, but it takes out
/// up to 128 elements at once and keeps them for the CPU, so that its maps evict before they are full. Ours evict one
/// element when the last one is taken. 0: others were faster.
HashTable::Ref HashTable::evict_one() noexcept {
  const u32 fresh = shared_->fresh.load(std::memory_order_relaxed), elements = fresh + stripe_count;
  for (u64 step = 0; step < u64{elements} * 2 + 1; ++step) {
    const u32 index = shared_->hand.fetch_add(1, std::memory_order_relaxed) % elements;
    const Ref ref = index < fresh ? index + 1 : max_entries_ + 1 + (index - fresh);  // spares come last
    if (used_[ref - 1].load(std::memory_order_relaxed) != 0) {
      used_[ref - 1].store(0, std::memory_order_relaxed);
      continue;
    }
    const Locked locked = lock(header(ref).hash.load(std::memory_order_relaxed));
    Place place{locked.head(), 0};
    while (place.ref != 0 && place.ref != ref) {
      place.before = place.ref;
      place.ref = header(place.ref).next.load(std::memory_order_relaxed);
    }
    if (place.ref != 0) unlink(locked, place);
    unlock(locked);
    if (place.ref != 0) {
      release(ref);
      return ref;
    }  // else free, a spare, or on its way to somewhere else
  }
  return 0;
}

// --- the host ---

s64 HashTable::copy(const void* key, void* to) noexcept {
  for (int attempts = 0;; ++attempts) {
    const Ref ref = find<0>(key);
    if (ref == 0) return -ENOENT;
    const u32 generation = header(ref).generation.load(std::memory_order_acquire);
    copy_value(ref, to);
    // The element may have become another key's before the copy began: the key is compared after it.
    const bool same = (generation & 1) == 0 && key_equals<0>(key_of(ref), key) &&
                      header(ref).generation.load(std::memory_order_acquire) == generation;
    if (same || attempts == 1000) return same ? 0 : -EBUSY;
  }
}

void HashTable::copy_value(Ref ref, void* to) const noexcept {
  if (fields_ != nullptr) {
    for (u32 cpu = 0; cpu < (cpus_ == 0 ? 1 : cpus_); ++cpu)
      fields_->load(static_cast<std::byte*>(to) + value_stride_ * cpu, value(ref, cpu), cpus_ != 0);
    return;
  }
  if (cpus_ == 0) return load_words<std::memory_order_acquire>(to, value(ref), value_size_);
  for (u32 cpu = 0; cpu < cpus_; ++cpu)
    load_words<std::memory_order_acquire>(static_cast<std::byte*>(to) + value_stride_ * cpu, value(ref, cpu),
                                          value_stride_);
}

s64 HashTable::take_out(const void* key, void* to) noexcept {
  const u32 hash = hash_of<0>(key);
  const Locked locked = lock(hash);
  const Place place = search<0>(locked, hash, key);
  if (place.ref != 0) {
    copy_value(place.ref, to);
    unlink(locked, place);
    give_back(*locked.stripe, place.ref);
  }
  unlock(locked);
  return place.ref != 0 ? 0 : -ENOENT;
}

s64 HashTable::copy_bucket(u32 bucket, std::byte* keys, std::byte* values, u32 value_bytes, u32 room,
                           bool remove) noexcept {
  if (static_cast<Ref>(buckets_[bucket].load(std::memory_order_relaxed)) == 0) return 0;
  const Locked locked = lock_bucket(bucket);
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
  if (remove) {
    set_head(locked, 0);
    for (Ref ref = locked.head(); ref != 0;) {
      const Ref next = header(ref).next.load(std::memory_order_relaxed);
      give_back(*locked.stripe, ref);
      ref = next;
    }
  }
  unlock(locked);
  return count;
}

void HashTable::each_value(void (Fields::*visit)(void* value) const noexcept) noexcept {
  const u32 fresh = shared_->fresh.load(std::memory_order_relaxed);
  for (u32 i = 0; i < fresh + stripe_count; ++i) {
    const Ref ref = i < fresh ? i + 1 : max_entries_ + 1 + (i - fresh);  // spares come last
    for (u32 cpu = 0; cpu < (cpus_ == 0 ? 1 : cpus_); ++cpu) (fields_->*visit)(value(ref, cpu));
  }
}

s64 HashTable::next_key(const void* key, void* next) noexcept {
  u64 index = 0;
  if (key != nullptr) {
    const u32 hash = hash_of<0>(key);
    const Locked locked = lock(hash);
    const Place place = search<0>(locked, hash, key);
    const Ref after = place.ref != 0 ? header(place.ref).next.load(std::memory_order_relaxed) : 0;
    if (after != 0) load_words(next, key_of(after), key_size_);
    unlock(locked);
    if (after != 0) return 0;
    // A key that is gone starts over from the first: as in the kernel.
    if (place.ref != 0) index = bucket_number(hash) + 1;
  }
  for (; index < bucket_count_; ++index) {
    if (static_cast<Ref>(buckets_[index].load(std::memory_order_relaxed)) == 0) continue;
    const Locked locked = lock_bucket(index);
    const Ref first = locked.head();
    if (first != 0) load_words(next, key_of(first), key_size_);
    unlock(locked);
    if (first != 0) return 0;
  }
  return -ENOENT;
}

}  // namespace skep::map
