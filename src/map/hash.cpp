// Hash maps: plain, per-CPU, LRU, LRU per-CPU. See hash_table.hpp for how the table works.
//
// Keys of 4, 8 and 16 bytes, which are most, have their own copy of the look-up.
// Source: kernel/bpf/hashtab.c (flags, errors, what a per-CPU update does to the other CPUs).
#include <sys/auxv.h>
#include <time.h>

#include <cerrno>
#include <utility>

#include "map/direct.hpp"
#include "map/hash_table.hpp"
#include "map/types.hpp"

namespace skep::map {

namespace {

template <u32 KeySize>
class HashMap final : public Map {
 public:
  HashMap(const MapSpec& spec, HashTable table, bool per_cpu, bool lru)
      : Map(spec), table_(std::move(table)), per_cpu_(per_cpu), lru_(lru) {}
  ~HashMap() override { end_fields(); }

  void* lookup(const void* key) noexcept override { return value_of(key, per_cpu_ ? current_cpu() : 0); }
  void* lookup_percpu(const void* key, u32 cpu) noexcept override {
    return per_cpu_ && cpu < possible_cpus() ? value_of(key, cpu) : nullptr;
  }
  s64 update(const void* key, const void* value, u64 flags) noexcept override {
    return table_.update<KeySize>(key, value, flags, current_cpu());
  }
  s64 erase(const void* key) noexcept override { return table_.erase<KeySize>(key); }
  u64 memory_bytes() const noexcept override { return table_.memory_bytes(); }
  base::MapView inline_view() noexcept override {
    base::MapView view = Direct<HashMap>::add_to(sizes_of_view());
    table_.describe(view);
    return view;
  }

 protected:
  // The host's look-ups do not count as use of an LRU element, as in the kernel.
  s64 host_lookup(const void* key, void* value) noexcept override { return table_.copy(key, value); }
  s64 host_update(const void* key, const void* value, u64 flags) noexcept override {
    return table_.update(key, value, flags, HashTable::all_cpus);
  }
  s64 host_next_key(const void* key, void* next) noexcept override { return table_.next_key(key, next); }
  s64 host_take(const void* key, void* value) noexcept override { return table_.take_out(key, value); }
  BatchSupport batch_support() const noexcept override { return {true, true, true, true}; }
  /// Bucket by bucket: what goes on is the number of the next bucket.
  s64 host_batch(Batch& batch, bool take) noexcept override {
    if (batch.elem_flags != 0 || batch.flags != 0) return -EINVAL;
    const u32 room = batch.count;
    if (room == 0) return 0;
    batch.count = 0;
    u32 bucket = batch.in != nullptr ? index_of(batch.in) : 0;
    if (bucket >= table_.bucket_count()) return -ENOENT;
    auto* keys = static_cast<std::byte*>(batch.keys);
    auto* values = static_cast<std::byte*>(batch.values);
    s64 error = 0;
    u32 done = 0;
    for (; error == 0 && bucket < table_.bucket_count(); ++bucket) {
      const s64 copied =
          table_.copy_bucket(bucket, keys + u64{done} * spec_.key_size, values + u64{done} * host_value_size(),
                             host_value_size(), room - done, take);
      if (copied >= 0) {
        done += static_cast<u32>(copied);
        continue;
      }
      error = done == 0 ? copied : 0;
      break;
    }
    if (bucket == table_.bucket_count()) error = -ENOENT;
    std::memcpy(batch.out, &bucket, sizeof bucket);
    batch.count = done;
    return error;
  }

  bool takes_fields() const noexcept override { return true; }
  void fields_are_set() noexcept override { table_.set_fields(fields_.get()); }
  bool key_of(const void* value, void* key) const noexcept override {
    if (per_cpu_ || spec_.key_size > 512) return false;
    table_.key_of(value, key);
    return true;
  }
  void each_value(VisitValue visit) noexcept override { table_.each_value(visit); }

 private:
  void* value_of(const void* key, u32 cpu) noexcept {
    const HashTable::Ref ref = table_.find<KeySize>(key);
    if (ref == 0) return nullptr;
    if (lru_) table_.touch(ref);
    return table_.value(ref, cpu);
  }

  HashTable table_;
  bool per_cpu_, lru_;
};

}  // namespace

u64 hash_seed(const MapSpec& spec) noexcept {
  if ((spec.flags & flag::zero_seed) != 0) return 0;
  // 16 random bytes that the kernel gave this process, made different for every map by the time of its creation.
  u64 random[2] = {};
  if (const auto* bytes = reinterpret_cast<const void*>(::getauxval(AT_RANDOM)); bytes != nullptr)
    std::memcpy(random, bytes, sizeof random);
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const u64 time = static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
  return detail::fold(random[0] ^ time, random[1] | 1);
}

Result<std::shared_ptr<Map>> make_hash(const MapSpec& spec) {
  const bool per_cpu = spec.type == MapType::percpu_hash || spec.type == MapType::lru_percpu_hash;
  const bool lru = spec.type == MapType::lru_hash || spec.type == MapType::lru_percpu_hash;
  auto table = SKEP_TRY(HashTable::create({.key_size = spec.key_size,
                                           .value_size = spec.value_size,
                                           .max_entries = spec.max_entries,
                                           .cpus = per_cpu ? possible_cpus() : 0,
                                           .evicts = lru,
                                           .seed = hash_seed(spec)}));
  if (spec.key_size == 4) return std::make_shared<HashMap<4>>(spec, std::move(table), per_cpu, lru);
  if (spec.key_size == 8) return std::make_shared<HashMap<8>>(spec, std::move(table), per_cpu, lru);
  if (spec.key_size == 16) return std::make_shared<HashMap<16>>(spec, std::move(table), per_cpu, lru);
  return std::make_shared<HashMap<0>>(spec, std::move(table), per_cpu, lru);
}

}  // namespace skep::map
