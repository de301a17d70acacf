// Bloom filters: sets that may claim to hold a value they never saw, but never deny one they did.
//
// push() sets `hash functions` bits, peek() asks whether all are set. The number of bits keeps the rate of false
// positives low when max_entries values are in: entries * functions * 7/5, rounded up to a power of two.
// Source: kernel/bpf/bloom_filter.c.
#include <bit>
#include <cerrno>

#include "map/hash_table.hpp"
#include "map/memory.hpp"
#include "map/types.hpp"

namespace skep::map {

namespace {

class BloomFilterMap final : public Map {
 public:
  BloomFilterMap(const MapSpec& spec, Region bits, u64 bit_count)
      : Map(spec),
        bits_(std::move(bits)),
        mask_(bit_count - 1),
        functions_(spec.map_extra != 0 ? static_cast<u32>(spec.map_extra) : 5),
        seed_(hash_seed(spec)) {}

  void* lookup(const void*) noexcept override { return nullptr; }
  s64 update(const void*, const void*, u64) noexcept override { return -EINVAL; }
  s64 erase(const void*) noexcept override { return -EOPNOTSUPP; }
  u64 memory_bytes() const noexcept override { return bits_.resident_bytes(); }

  s64 push(const void* value, u64 flags) noexcept override {
    if (flags != update_any) return -EINVAL;
    for (u32 function = 0; function < functions_; ++function) {
      const u64 bit = hash(value, function);
      word(bit).fetch_or(u64{1} << (bit % 64), std::memory_order_relaxed);
    }
    return 0;
  }
  s64 peek(void* value) noexcept override {
    for (u32 function = 0; function < functions_; ++function) {
      const u64 bit = hash(value, function);
      if ((word(bit).load(std::memory_order_relaxed) >> (bit % 64) & 1) == 0) return -ENOENT;
    }
    return 0;
  }

 protected:
  s64 host_lookup(const void*, void* value) noexcept override { return peek(value); }
  s64 host_update(const void*, const void* value, u64 flags) noexcept override { return push(value, flags); }
  s64 host_next_key(const void*, void*) noexcept override { return -EOPNOTSUPP; }

 private:
  std::atomic_ref<u64> word(u64 bit) const noexcept { return word_at(bits_.data(), bit / 64 * 8); }
  u64 hash(const void* value, u32 function) const noexcept {
    u64 state = seed_ ^ (function + 1) * detail::odd_2;
    u32 offset = 0;
    for (; offset < spec_.value_size; offset += 8) {
      u64 part = 0;
      const u32 left = spec_.value_size - offset;
      std::memcpy(&part, static_cast<const std::byte*>(value) + offset, left < 8 ? left : 8);
      state = detail::fold(state ^ part, detail::odd_1);
    }
    return detail::fold(state ^ (state >> 32), detail::odd_2) & mask_;
  }

  Region bits_;
  u64 mask_;
  u32 functions_;
  u64 seed_;
};

}  // namespace

Result<std::shared_ptr<Map>> make_bloom_filter(const MapSpec& spec) {
  const u64 functions = spec.map_extra != 0 ? spec.map_extra : 5;
  const u64 wanted = u64{spec.max_entries} * functions * 7 / 5;
  const u64 most = u64{1} << 32;
  const u64 bits = wanted > most / 2 ? most : std::bit_ceil(wanted < 64 ? u64{64} : wanted);
  auto region = SKEP_TRY(Region::allocate(bits / 8));
  return std::make_shared<BloomFilterMap>(spec, std::move(region), bits);
}

}  // namespace skep::map
