// The kernel is the specification, continued: rules that hold across types (freezing, one-way access, sizes that no
// machine has), maps in maps, per-CPU LRU, bloom filters, walks while elements go. See differential_test.cpp.
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

#include "map/kernel_oracle.hpp"
#include "map/map.hpp"
#include "map/run.hpp"
#include "map/slots.hpp"

namespace skep::map {
namespace {

using Bytes = std::vector<std::byte>;
using oracle::KernelMap;
using oracle::make_spec;

std::vector<MapSpec> maps_of_every_shape(u32 flags) {
  return {make_spec(MapType::hash, 4, 8, 8, flags),
          make_spec(MapType::percpu_hash, 4, 8, 8, flags),
          make_spec(MapType::lru_hash, 4, 8, 64, flags),
          make_spec(MapType::lru_percpu_hash, 4, 8, 64, flags),
          make_spec(MapType::array, 4, 8, 8, flags),
          make_spec(MapType::percpu_array, 4, 8, 8, flags),
          make_spec(MapType::lpm_trie, 8, 8, 8, flags | flag::no_prealloc),
          make_spec(MapType::queue, 0, 8, 8, flags),
          make_spec(MapType::stack, 0, 8, 8, flags),
          make_spec(MapType::bloom_filter, 0, 8, 8, flags),
          make_spec(MapType::stack_trace, 4, 64, 8, flags),
          make_spec(MapType::devmap, 4, 4, 8, flags),
          make_spec(MapType::devmap_hash, 4, 4, 8, flags),
          make_spec(MapType::xskmap, 4, 4, 8, flags),
          make_spec(MapType::sockmap, 4, 8, 8, flags),
          make_spec(MapType::sockhash, 4, 8, 8, flags),
          make_spec(MapType::prog_array, 4, 4, 8, flags),
          make_spec(MapType::perf_event_array, 4, 4, 8, flags),
          make_spec(MapType::cgroup_array, 4, 4, 8, flags),
          make_spec(MapType::reuseport_sockarray, 4, 8, 8, flags),
          make_spec(MapType::cpumap, 4, 4, 1, flags),
          make_spec(MapType::ringbuf, 0, 0, 4096, flags),
          make_spec(MapType::user_ringbuf, 0, 0, 4096, flags)};
}

/// Every operation of the host once, the same on both sides. Descriptors are written as 9999, which none is.
void compare_operations(Map& ours, const KernelMap& kernel, const MapSpec& spec) {
  const u64 key_words[2] = {spec.type == MapType::lpm_trie ? u64{32} | u64{7} << 32 : 3, 0};
  const void* key = spec.key_size > 0 ? key_words : nullptr;
  const bool plain = spec.value_size == 8 && spec.type != MapType::sockmap && spec.type != MapType::sockhash &&
                     spec.type != MapType::reuseport_sockarray;
  Bytes value(std::max(ours.host_value_size(), 64u)), a = value, b = value;
  const u64 number = plain ? 5 : 9999;
  std::memcpy(value.data(), &number, sizeof number);
  const auto same_value = [&](s64 error, const char* what) {
    if (error == 0) {
      EXPECT_EQ(a, b) << what;
    }
  };
  EXPECT_EQ(ours.copy_update(key, value.data(), 0), kernel.update(key, value.data(), 0)) << "update";
  s64 error = ours.copy_lookup(key, a.data());
  EXPECT_EQ(error, kernel.lookup(key, b.data())) << "look-up";
  same_value(error, "look-up");
  Bytes next(8), kernels_next(8);
  EXPECT_EQ(ours.next_key(nullptr, next.data()), kernel.next_key(nullptr, kernels_next.data())) << "first key";
  EXPECT_EQ(next, kernels_next);
  error = ours.copy_take(key, a.data(), 0);
  EXPECT_EQ(error, kernel.take(key, b.data(), 0)) << "take";
  same_value(error, "take");
  Bytes keys(16), out(16), values(2 * value.size());
  const Batch both{.out = out.data(), .keys = keys.data(), .values = values.data(), .count = 1};
  for (int operation = 0; operation < 4; ++operation) {
    SCOPED_TRACE("batch " + std::to_string(operation));
    Batch x = both, y = both;
    const auto call = [&](auto& map, Batch& batch) {
      return operation == 0   ? map.update_batch(batch)
             : operation == 1 ? map.lookup_batch(batch)
             : operation == 2 ? map.take_batch(batch)
                              : map.erase_batch(batch);
    };
    EXPECT_EQ(call(ours, x), call(kernel, y));
    EXPECT_EQ(x.count, y.count);
  }
  EXPECT_EQ(ours.copy_erase(key), kernel.erase(key)) << "delete";
}

TEST(Differential, OneWayAndFrozenMapsOfEveryType) {
  SKEP_NEEDS_BPF();
  u32 made = 0, frozen_maps = 0;
  for (const u32 flags : {0u, flag::rdonly, flag::wronly, flag::rdonly_prog, flag::wronly_prog})
    for (const bool frozen : {false, true})
      for (const MapSpec& spec : maps_of_every_shape(flags)) {
        SCOPED_TRACE(std::string(name_of(spec.type)) + " flags " + std::to_string(flags) + (frozen ? " frozen" : ""));
        const KernelMap kernel(spec);
        const auto ours = Map::create(spec);
        ASSERT_EQ(kernel.error, ours ? 0 : -ours.error().os_error);
        if (!ours) continue;
        ++made;
        if (frozen) {
          if (kernel.freeze() != 0) continue;
          (*ours)->freeze();
          ++frozen_maps;
        }
        compare_operations(**ours, kernel, spec);
        if (testing::Test::HasFailure()) return;
      }
  EXPECT_GT(made, 100u);
  EXPECT_GT(frozen_maps, 50u);
}

TEST(Differential, SizesThatNoMachineHas) {
  SKEP_NEEDS_BPF();
  // 16 TiB and more: refused before anything is allocated, here with a sentence.
  for (const MapSpec& spec :
       {make_spec(MapType::array, 4, 1 << 20, 1u << 24), make_spec(MapType::array, 4, 0x7fffffff, 0xffffffff),
        make_spec(MapType::queue, 0, 1 << 20, 1u << 24), make_spec(MapType::stack, 0, 4 << 20, 0xffffffff),
        make_spec(MapType::percpu_array, 4, 32768, 0xffffffff), make_spec(MapType::hash, 4, 4, 0xffffffff),
        make_spec(MapType::lru_hash, 4, 4, 0xffffffff), make_spec(MapType::stack_trace, 4, 1016, 1u << 31),
        make_spec(MapType::devmap_hash, 4, 4, 0xffffffff)}) {
    SCOPED_TRACE(std::string(name_of(spec.type)) + " value " + std::to_string(spec.value_size) + " entries " +
                 std::to_string(spec.max_entries));
    const KernelMap kernel(spec);
    const auto ours = Map::create(spec);
    ASSERT_FALSE(ours);
    EXPECT_EQ(-ours.error().os_error, kernel.error) << ours.error().message;
    EXPECT_GT(ours.error().message.size(), 20u);
  }
}

TEST(Differential, MapsInMaps) {
  SKEP_NEEDS_BPF();
  for (const MapType outer : {MapType::array_of_maps, MapType::hash_of_maps}) {
    SCOPED_TRACE(name_of(outer));
    const MapSpec fits = make_spec(MapType::hash, 4, 8, 16), other = make_spec(MapType::hash, 4, 16, 16);
    MapSpec spec = make_spec(outer, 4, 4, 3);
    spec.inner = std::make_shared<MapSpec>(fits);
    const KernelMap kernel(spec), kernels_fit(fits), kernels_other(other);
    ASSERT_EQ(kernel.error, 0);
    const auto ours = *Map::create(spec), our_fit = *Map::create(fits), our_other = *Map::create(other);
    our_fit->info.id = 1;
    std::mt19937_64 random(static_cast<u64>(outer));
    for (int step = 0; step < 400 && !testing::Test::HasFailure(); ++step) {
      const u32 key = static_cast<u32>(random() % 5);
      const u64 flags = random() % 3 == 0 ? random() % 4 : 0;
      const bool right = random() % 4 != 0;
      SCOPED_TRACE("step " + std::to_string(step) + " key " + std::to_string(key) + " flags " + std::to_string(flags));
      u32 a = 0, b = 0;
      switch (random() % 4) {
        case 0:
        case 1: {
          const int fd = (right ? kernels_fit : kernels_other).fd.get();
          EXPECT_EQ(set_inner_map(*ours, &key, right ? our_fit : our_other, flags), kernel.update(&key, &fd, flags));
          break;
        }
        case 2:
          EXPECT_EQ(ours->copy_lookup(&key, &a), kernel.lookup(&key, &b)) << "look-up";
          EXPECT_EQ(a != 0, b != 0);
          break;
        default:
          EXPECT_EQ(ours->copy_erase(&key), kernel.erase(&key)) << "delete";
      }
    }
    std::set<u32> keys, kernels_keys;
    for (u32 key = 0, found = 0, first = 1; ours->next_key(first ? nullptr : &key, &found) == 0; key = found, first = 0)
      keys.insert(found);
    for (u32 key = 0, found = 0, first = 1; kernel.next_key(first ? nullptr : &key, &found) == 0;
         key = found, first = 0)
      kernels_keys.insert(found);
    EXPECT_EQ(keys, kernels_keys);
  }
}

TEST(Differential, PerCpuLruBelowItsSize) {
  SKEP_NEEDS_BPF();
  const MapSpec spec = make_spec(MapType::lru_percpu_hash, 4, 12, 2048);
  const KernelMap kernel(spec);
  ASSERT_EQ(kernel.error, 0);
  const auto ours = *Map::create(spec);
  std::mt19937_64 random(17);
  Bytes value(ours->host_value_size()), a(value.size()), b(value.size());
  for (int step = 0; step < 3000 && !testing::Test::HasFailure(); ++step) {
    SCOPED_TRACE("step " + std::to_string(step));
    const u32 key = static_cast<u32>(random() % 40);
    const u64 flags = random() % 2 * (random() % 4);
    for (std::size_t i = 0; i < value.size(); ++i) value[i] = i % 16 < 12 ? std::byte(random()) : std::byte{0};
    switch (random() % 4) {
      case 0:
        EXPECT_EQ(ours->copy_update(&key, value.data(), flags), kernel.update(&key, value.data(), flags));
        break;
      case 1:
        EXPECT_EQ(ours->copy_erase(&key), kernel.erase(&key));
        break;
      default: {
        const bool take = random() % 4 == 0;
        const s64 error = take ? ours->copy_take(&key, a.data(), 0) : ours->copy_lookup(&key, a.data());
        EXPECT_EQ(error, take ? kernel.take(&key, b.data(), 0) : kernel.lookup(&key, b.data()));
        if (error == 0) {
          EXPECT_EQ(a, b);
        }
      }
    }
  }
}

TEST(Differential, BloomFilters) {
  SKEP_NEEDS_BPF();
  for (const u32 value_size : {1u, 4u, 12u, 64u})
    for (const u64 functions : {0u, 1u, 15u}) {
      SCOPED_TRACE("value " + std::to_string(value_size) + ", functions " + std::to_string(functions));
      MapSpec spec = make_spec(MapType::bloom_filter, 0, value_size, 1u << 20);
      spec.map_extra = functions;
      const KernelMap kernel(spec);
      ASSERT_EQ(kernel.error, 0);
      const auto ours = *Map::create(spec);
      Bytes value(value_size);
      // A filter may claim values that it was not given: with one function some of the hundred in one filter of 400, so
      // that two of them are a matter of one in 300,000.
      u32 our_claims = 0, kernel_claims = 0;
      for (u32 i = 0; i < 100; ++i) {
        value[0] = static_cast<std::byte>(i);
        const s64 in_ours = ours->copy_lookup(nullptr, value.data()), in_kernel = kernel.lookup(nullptr, value.data());
        EXPECT_TRUE(in_ours == 0 || in_ours == -ENOENT) << in_ours;
        EXPECT_TRUE(in_kernel == 0 || in_kernel == -ENOENT) << in_kernel;
        our_claims += in_ours == 0;
        kernel_claims += in_kernel == 0;
        for (const u64 flags : {1u, 2u, 3u, 0u})
          EXPECT_EQ(ours->copy_update(nullptr, value.data(), flags), kernel.update(nullptr, value.data(), flags));
        EXPECT_EQ(ours->copy_lookup(nullptr, value.data()), 0);
        EXPECT_EQ(kernel.lookup(nullptr, value.data()), 0);
      }
      EXPECT_LE(our_claims, 2u);
      EXPECT_LE(kernel_claims, 2u);
    }
}

/// A full LRU map takes every new key and keeps its size; which key goes is not promised (hash_table.cpp says how ours
/// chooses). The newest key is there on both sides.
TEST(Differential, LruMapsMakeRoom) {
  SKEP_NEEDS_BPF();
  for (const MapType type : {MapType::lru_hash, MapType::lru_percpu_hash})
    for (const u32 entries : {1u, 4u, 500u, 4096u}) {
      SCOPED_TRACE(std::string(name_of(type)) + ", entries " + std::to_string(entries));
      const MapSpec spec = make_spec(type, 4, 8, entries);
      const KernelMap kernel(spec);
      ASSERT_EQ(kernel.error, 0);
      const auto ours = *Map::create(spec);
      Bytes value(ours->host_value_size(), std::byte{1});
      for (u32 key = 0; key < entries * 3; ++key) {
        ASSERT_EQ(ours->copy_update(&key, value.data(), update_noexist), 0);
        ASSERT_EQ(kernel.update(&key, value.data(), update_noexist), 0);
        ASSERT_EQ(ours->copy_lookup(&key, value.data()), 0);
        ASSERT_EQ(kernel.lookup(&key, value.data()), 0);
      }
      u32 count = 0;
      for (u32 key = 0, next = 0; ours->next_key(count == 0 ? nullptr : &key, &next) == 0; key = next) ++count;
      EXPECT_EQ(count, entries) << "ours are full, the kernel's nearly";
    }
}

/// Taking away the key that a walk stands on sends it back to the start, in both: every key is seen, none twice.
TEST(Differential, WalksThatDelete) {
  SKEP_NEEDS_BPF();
  for (const MapType type : {MapType::hash, MapType::percpu_hash, MapType::lru_hash}) {
    const MapSpec spec = make_spec(type, 4, 8, 2048);
    const KernelMap kernel(spec);
    ASSERT_EQ(kernel.error, 0);
    const auto ours = *Map::create(spec);
    Bytes value(ours->host_value_size());
    for (u32 key = 0; key < 300; ++key) {
      ASSERT_EQ(ours->copy_update(&key, value.data(), 0), 0);
      ASSERT_EQ(kernel.update(&key, value.data(), 0), 0);
    }
    const auto walk = [&](auto next_key, auto erase) {
      std::set<u32> seen;
      u32 key = 0, next = 0, count = 0;
      for (const u32* from = nullptr; next_key(from, &next) == 0; from = &key) {
        key = next;
        ++count;
        seen.insert(key);
        EXPECT_EQ(erase(&key), 0);
      }
      EXPECT_EQ(count, 300u);
      return seen;
    };
    EXPECT_EQ(walk([&](const u32* from, u32* next) { return ours->next_key(from, next); },
                   [&](const u32* key) { return ours->copy_erase(key); }),
              walk([&](const u32* from, u32* next) { return kernel.next_key(from, next); },
                   [&](const u32* key) { return kernel.erase(key); }));
  }
}

}  // namespace
}  // namespace skep::map
