// The kernel is the specification: the same operations on a map of the kernel and on ours, the same answers.
//
// Random sequences from a printed seed over a small set of keys, so that full maps, missing keys and repeated keys
// are common. Keys of hash maps come in any order, so these are compared as sets.
#include <gtest/gtest.h>

#include <bit>
#include <random>
#include <set>
#include <vector>

#include "map/kernel_oracle.hpp"
#include "map/map.hpp"
#include "map/memory.hpp"

namespace skep::map {
namespace {

using Bytes = std::vector<std::byte>;
using oracle::KernelMap;
using oracle::make_spec;

s64 creation_error(const Result<std::shared_ptr<Map>>& made) { return made ? 0 : -made.error().os_error; }

/// One map of each side and the same operations on both.
class Pair {
 public:
  Pair(const MapSpec& spec, u64 seed) : spec_(spec), kernel_(spec), random_(seed) {
    auto made = Map::create(spec);
    EXPECT_TRUE(made) << (made ? "" : made.error().message);
    EXPECT_EQ(kernel_.error, 0) << name_of(spec.type);
    if (made) ours_ = *made;
  }
  bool ready() const { return ours_ != nullptr && kernel_.error == 0; }

  void step() {
    key_ = random_key();
    switch (random_() % 8) {
      case 0:
      case 1:
      case 2:
        return update();
      case 3:
      case 4:
        return lookup();
      case 5:
        return erase();
      case 6:
        return next_key();
      default:
        return has_keys() ? lookup() : pop();
    }
  }

  void compare_all_keys() {
    if (!has_keys()) return;
    key_.resize(spec_.key_size);
    std::set<std::string> ours = keys([&](const void* key, void* next) { return ours_->next_key(key, next); });
    std::set<std::string> kernels = keys([&](const void* key, void* next) { return kernel_.next_key(key, next); });
    EXPECT_EQ(ours, kernels);
    for (const std::string& key : ours) {
      std::memcpy(key_.data(), key.data(), key.size());
      lookup();
    }
  }

 private:
  bool has_keys() const { return spec_.key_size > 0; }
  bool is_trie() const { return spec_.type == MapType::lpm_trie; }
  bool ordered() const { return spec_.type == MapType::array || spec_.type == MapType::percpu_array || is_trie(); }
  const void* key() const { return has_keys() ? key_.data() : nullptr; }

  Bytes random_key() {
    Bytes key(spec_.key_size);
    if (is_trie()) {
      const u32 bits = static_cast<u32>(random_() % ((spec_.key_size - 4) * 8 + 2));
      for (std::size_t i = 4; i < key.size(); ++i) key[i] = std::byte(random_() % 4 == 0 ? 0xff : random_() % 3);
      std::memcpy(key.data(), &bits, sizeof bits);
      return key;
    }
    const u32 number = static_cast<u32>(random_() % (spec_.max_entries * 2 + 2));
    if (!key.empty()) std::memcpy(key.data(), &number, std::min<std::size_t>(key.size(), sizeof number));
    if (key.size() > 12 && number % 2 == 0) key.back() = std::byte{7};
    return key;
  }

  Bytes random_value() {
    Bytes value(ours_->host_value_size());
    const std::size_t stride = ours_->is_per_cpu() ? (spec_.value_size + 7) / 8 * 8 : value.size();
    for (std::size_t i = 0; i < value.size(); ++i)
      if (i % stride < spec_.value_size) value[i] = std::byte(random_());
    return value;
  }

  void update() {
    constexpr u64 odd_flags[] = {3, 4, 8, u64{1} << 33};
    const u64 flags = random_() % 8 == 0 ? odd_flags[random_() % 4] : random_() % 3 * (random_() % 2);
    const Bytes value = random_value();
    EXPECT_EQ(ours_->copy_update(key(), value.data(), flags), kernel_.update(key(), value.data(), flags))
        << "update with flags " << flags;
  }
  void lookup() {
    Bytes ours = random_value(), kernels = ours;
    const s64 error = ours_->copy_lookup(key(), ours.data());
    EXPECT_EQ(error, kernel_.lookup(key(), kernels.data())) << "look-up";
    if (error == 0) {
      EXPECT_EQ(ours, kernels) << "look-up";
    }
  }
  void erase() { EXPECT_EQ(ours_->copy_erase(key()), kernel_.erase(key())) << "delete"; }
  void pop() {
    Bytes ours = random_value(), kernels = ours;
    const s64 error = ours_->pop(ours.data());
    const s64 expected = kernel_.pop(kernels.data());
    // For types without elements to pop, bpf(2) says ENOTSUPP before it asks the map.
    EXPECT_EQ(error, expected == -not_supported ? -EOPNOTSUPP : expected) << "pop";
    if (error == 0) {
      EXPECT_EQ(ours, kernels) << "pop";
    }
  }
  void next_key() {
    Bytes ours(spec_.key_size), kernels(spec_.key_size);
    const void* from = random_() % 8 == 0 ? nullptr : key();
    const s64 error = ours_->next_key(from, ours.data());
    const s64 expected = kernel_.next_key(from, kernels.data());
    if (!ordered() && has_keys()) return;  // compared as a set
    EXPECT_EQ(error, expected) << "next key";
    if (error == 0) {
      EXPECT_EQ(ours, kernels) << "next key";
    }
  }

  template <class Next>
  std::set<std::string> keys(Next next) {
    std::set<std::string> found;
    Bytes at(spec_.key_size), following(spec_.key_size);
    const void* from = nullptr;
    for (u32 i = 0; i < spec_.max_entries * 4 && next(from, following.data()) == 0; ++i) {
      at = following;
      from = at.data();
      EXPECT_TRUE(found.insert(std::string(reinterpret_cast<const char*>(at.data()), at.size())).second)
          << "a key came twice";
    }
    return found;
  }

  MapSpec spec_;
  KernelMap kernel_;
  std::shared_ptr<Map> ours_;
  std::mt19937_64 random_;
  Bytes key_;
};

void compare(const MapSpec& spec, int sequences, int steps) {
  for (int sequence = 0; sequence < sequences; ++sequence) {
    const u64 seed = static_cast<u64>(sequence) * 7919 + static_cast<u64>(spec.type);
    SCOPED_TRACE("map type " + std::string(name_of(spec.type)) + ", seed " + std::to_string(seed));
    Pair pair(spec, seed);
    ASSERT_TRUE(pair.ready());
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      SCOPED_TRACE("step " + std::to_string(i));
      pair.step();
    }
    if (testing::Test::HasFailure()) return;
    pair.compare_all_keys();
  }
}

TEST(Differential, Hash) {
  SKEP_NEEDS_BPF();
  for (const u32 key_size : {1u, 3u, 4u, 8u, 13u, 64u})
    for (const u32 value_size : {1u, 4u, 8u, 20u}) compare(make_spec(MapType::hash, key_size, value_size, 6), 4, 300);
}
TEST(Differential, HashWithoutPreallocation) {
  SKEP_NEEDS_BPF();
  compare(make_spec(MapType::hash, 4, 8, 5, flag::no_prealloc), 20, 300);
}
TEST(Differential, PerCpuHash) {
  SKEP_NEEDS_BPF();
  for (const u32 value_size : {4u, 8u, 12u}) compare(make_spec(MapType::percpu_hash, 4, value_size, 6), 8, 300);
}
TEST(Differential, Array) {
  SKEP_NEEDS_BPF();
  for (const u32 value_size : {1u, 4u, 8u, 20u}) compare(make_spec(MapType::array, 4, value_size, 5), 6, 300);
}
TEST(Differential, PerCpuArray) {
  SKEP_NEEDS_BPF();
  for (const u32 value_size : {4u, 8u, 20u}) compare(make_spec(MapType::percpu_array, 4, value_size, 5), 6, 300);
}
TEST(Differential, Queue) {
  SKEP_NEEDS_BPF();
  for (const u32 value_size : {1u, 8u, 20u}) compare(make_spec(MapType::queue, 0, value_size, 4), 8, 300);
}
TEST(Differential, Stack) {
  SKEP_NEEDS_BPF();
  for (const u32 value_size : {1u, 8u, 20u}) compare(make_spec(MapType::stack, 0, value_size, 4), 8, 300);
}
TEST(Differential, LpmTrie) {
  SKEP_NEEDS_BPF();
  for (const u32 key_size : {5u, 8u, 13u, 20u})
    compare(make_spec(MapType::lpm_trie, key_size, 8, 12, flag::no_prealloc), 12, 500);
}
TEST(Differential, LruBelowItsSize) {
  SKEP_NEEDS_BPF();
  // Which element is evicted is nobody's promise, so the map is larger than the keys are many.
  MapSpec spec = make_spec(MapType::lru_hash, 1, 8, 2048);
  for (int sequence = 0; sequence < 4; ++sequence) {
    Pair pair(spec, static_cast<u64>(sequence));
    ASSERT_TRUE(pair.ready());
    for (int i = 0; i < 200; ++i) pair.step();
    pair.compare_all_keys();
  }
}

/// Every combination of odd sizes and flags: the same maps are possible here and there, refused with the same errno.
TEST(Differential, Creation) {
  SKEP_NEEDS_BPF();
  constexpr MapType types[] = {MapType::hash,
                               MapType::array,
                               MapType::percpu_hash,
                               MapType::percpu_array,
                               MapType::lru_hash,
                               MapType::lru_percpu_hash,
                               MapType::queue,
                               MapType::stack,
                               MapType::ringbuf,
                               MapType::lpm_trie,
                               MapType::perf_event_array,
                               MapType::prog_array,
                               MapType::bloom_filter};
  constexpr u32 key_sizes[] = {0, 1, 4, 5, 260, 261, 513, 0xffffffff};
  constexpr u32 value_sizes[] = {0, 4, 8, 32769, 0x400000, 0x400001, 0xffffffff};
  constexpr u32 entries[] = {0, 1, 4096, 0xffffffff};
  u64 compared = 0, made = 0;
  for (const MapType type : types)
    for (const u32 key_size : key_sizes)
      for (const u32 value_size : value_sizes)
        for (const u32 max_entries : entries)
          for (u32 bit = 0; bit <= 14; ++bit) {
            const u32 flags = bit == 14 ? flag::no_prealloc : bit == 13 ? 0 : 1u << bit;
            // What libbpf completes, create() completes too: the kernel does not.
            const bool slots = type == MapType::perf_event_array || type == MapType::prog_array;
            if (slots && (key_size == 0 || value_size == 0 || max_entries == 0)) continue;
            if (type == MapType::ringbuf && (max_entries == 1 || max_entries == 3)) continue;  // likewise
            if (flags == flag::numa_node) continue;
            // The kernel would really allocate these.
            if (u64{max_entries} * (u64{key_size} + value_size) > (5u << 20)) continue;
            const MapSpec spec = make_spec(type, key_size, value_size, max_entries, flags);
            const KernelMap kernel(spec);
            const auto ours = Map::create(spec);
            ++compared;
            made += kernel.error == 0;
            ASSERT_EQ(creation_error(ours), kernel.error)
                << name_of(type) << " key " << key_size << " value " << value_size << " entries " << max_entries
                << " flags " << flags << (ours ? "" : ": " + ours.error().message);
          }
  EXPECT_GT(compared, 10000u);
  EXPECT_GT(made, 200u);
}

TEST(Differential, SizesThatAreRefusedBeforeAllocation) {
  SKEP_NEEDS_BPF();
  for (const MapSpec& spec :
       {make_spec(MapType::hash, 4, 4, 1u << 31), make_spec(MapType::hash, 4, 4, (1u << 27) + 1),
        make_spec(MapType::hash, 4, 0x3fffcc, 1), make_spec(MapType::hash, 4, 0x3fffcb, 1),
        make_spec(MapType::percpu_array, 4, 32769, 1), make_spec(MapType::array, 4, 0x80000000, 1),
        make_spec(MapType::lpm_trie, 8, 0x400000, 1, flag::no_prealloc)}) {
    const KernelMap kernel(spec);
    EXPECT_EQ(creation_error(Map::create(spec)), kernel.error)
        << name_of(spec.type) << " value " << spec.value_size << " entries " << spec.max_entries;
  }
}

TEST(Differential, MapsOfMapsAreCheckedAlike) {
  SKEP_NEEDS_BPF();
  for (const MapType outer : {MapType::array_of_maps, MapType::hash_of_maps})
    for (const MapType inner :
         {MapType::array, MapType::hash, MapType::lru_hash, MapType::ringbuf, MapType::queue, MapType::percpu_array,
          MapType::prog_array, MapType::perf_event_array, MapType::lpm_trie, MapType::bloom_filter}) {
      MapSpec spec = make_spec(outer, 4, 4, 4);
      MapSpec inner_spec = make_spec(inner, 4, 4, 4096);
      if (inner == MapType::ringbuf) inner_spec.key_size = inner_spec.value_size = 0;
      if (inner == MapType::queue || inner == MapType::bloom_filter) inner_spec.key_size = 0;
      if (inner == MapType::lpm_trie) inner_spec.key_size = 8, inner_spec.flags = flag::no_prealloc;
      spec.inner = std::make_shared<MapSpec>(inner_spec);
      const KernelMap kernel(spec);
      EXPECT_EQ(creation_error(Map::create(spec)), kernel.error) << name_of(outer) << " of " << name_of(inner);
    }
}

TEST(Differential, ReadOnlyWriteOnlyAndFrozenForTheHost) {
  SKEP_NEEDS_BPF();
  for (const u32 flags : {0u, flag::rdonly, flag::wronly, flag::rdonly_prog, flag::wronly_prog})
    for (const bool frozen : {false, true}) {
      const MapSpec spec = make_spec(MapType::array, 4, 4, 2, flags);
      const KernelMap kernel(spec);
      ASSERT_EQ(kernel.error, 0);
      const auto ours = *Map::create(spec);
      if (frozen && kernel.freeze() == 0) ours->freeze();
      u32 key = 0, value = 1, kernels = 1, next = 0;
      SCOPED_TRACE("flags " + std::to_string(flags) + (frozen ? " frozen" : ""));
      EXPECT_EQ(ours->copy_update(&key, &value, 0), kernel.update(&key, &value, 0));
      EXPECT_EQ(ours->copy_lookup(&key, &value), kernel.lookup(&key, &kernels));
      EXPECT_EQ(ours->copy_erase(&key), kernel.erase(&key));
      EXPECT_EQ(ours->next_key(&key, &next), kernel.next_key(&key, &next));
    }
}

TEST(Differential, OperationsThatATypeLacks) {
  SKEP_NEEDS_BPF();
  for (const MapSpec& spec : {make_spec(MapType::ringbuf, 0, 0, 4096), make_spec(MapType::perf_event_array, 4, 4, 2),
                              make_spec(MapType::prog_array, 4, 4, 2), make_spec(MapType::bloom_filter, 0, 8, 10)}) {
    SCOPED_TRACE(name_of(spec.type));
    const KernelMap kernel(spec);
    ASSERT_EQ(kernel.error, 0);
    const auto ours = *Map::create(spec);
    for (const u32 index : {0u, 1u, 2u, 0xffffffffu}) {
      u32 next = 0, kernels_next = 0;
      u64 value = ~u64{0};
      const void* key = spec.key_size > 0 ? &index : nullptr;
      EXPECT_EQ(ours->copy_lookup(key, &value), kernel.lookup(key, &value)) << index;
      EXPECT_EQ(ours->copy_update(key, &value, 0), kernel.update(key, &value, 0)) << index;
      EXPECT_EQ(ours->copy_update(key, &value, 1), kernel.update(key, &value, 1)) << index;
      EXPECT_EQ(ours->copy_erase(key), kernel.erase(key)) << index;
      EXPECT_EQ(ours->next_key(key, &next), kernel.next_key(key, &kernels_next)) << index;
      EXPECT_EQ(next, kernels_next);
    }
  }
}

}  // namespace
}  // namespace skep::map
