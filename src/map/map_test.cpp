// What maps promise beyond the kernel's answers (differential_test.cpp): pointers, memory, per-CPU values, eviction.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <cstring>
#include <set>
#include <vector>

#include "map/map.hpp"
#include "map/memory.hpp"
#include "map/reader.hpp"

namespace skep::map {
namespace {

MapSpec make_spec(MapType type, u32 key_size, u32 value_size, u32 max_entries, u32 flags = 0) {
  MapSpec spec;
  spec.name = "mine";
  spec.type = type;
  spec.key_size = key_size;
  spec.value_size = value_size;
  spec.max_entries = max_entries;
  spec.flags = flags;
  return spec;
}

std::shared_ptr<Map> made(const MapSpec& spec) {
  auto map = Map::create(spec);
  EXPECT_TRUE(map) << (map ? "" : map.error().message);
  return map ? *map : nullptr;
}

u64& number_at(void* value) { return *static_cast<u64*>(value); }

TEST(Map, ErrorsNameTheMapTheFindingAndTheExpectation) {
  const auto odd = Map::create(make_spec(MapType::array, 8, 4, 1));
  ASSERT_FALSE(odd);
  EXPECT_EQ(odd.error().code, Code::invalid_argument);
  EXPECT_EQ(odd.error().os_error, EINVAL);
  EXPECT_EQ(odd.error().message, "map mine: key_size is 8: a array map needs 4");
  const auto lacking = Map::create(make_spec(MapType::inode_storage, 4, 4, 1));
  ASSERT_FALSE(lacking);
  EXPECT_EQ(lacking.error().code, Code::unsupported);
  EXPECT_EQ(lacking.error().message,
            "map mine: values of inode_storage maps belong to the kernel's inodes, of which the user engine has none: "
            "use --backend kernel (Linux 5.10)");
  EXPECT_FALSE(Map::create(make_spec(static_cast<MapType>(77), 4, 4, 1)));
  EXPECT_FALSE(Map::create(MapSpec{}));
}

TEST(Map, EveryUnsupportedTypeSaysSo) {
  for (const MapType type : {MapType::struct_ops, MapType::sk_storage, MapType::inode_storage, MapType::cgrp_storage,
                             MapType::cgroup_storage, MapType::percpu_cgroup_storage}) {
    const auto map = Map::create(make_spec(type, 4, 8, 1));
    ASSERT_FALSE(map);
    EXPECT_EQ(map.error().code, Code::unsupported) << map.error().message;
    EXPECT_NE(map.error().message.find(name_of(type)), std::string::npos) << map.error().message;
  }
}

TEST(Map, MoreMemoryThanTheMachineHasIsALimit) {
  const auto map = Map::create(make_spec(MapType::array, 4, 1u << 30, 0xffffffff));
  ASSERT_FALSE(map);
  EXPECT_EQ(map.error().code, Code::limit);
  EXPECT_EQ(map.error().os_error, ENOMEM);
}

TEST(Map, SizesThatTheLoaderCompletes) {
  EXPECT_EQ(made(make_spec(MapType::perf_event_array, 4, 4, 0))->spec().max_entries, possible_cpus());
  EXPECT_EQ(made(make_spec(MapType::ringbuf, 0, 0, 1))->spec().max_entries, 4096u);
  EXPECT_EQ(made(make_spec(MapType::ringbuf, 0, 0, 5000))->spec().max_entries, 8192u);
  EXPECT_FALSE(Map::create(make_spec(MapType::ringbuf, 0, 0, 0)));
}

TEST(Map, GlobalDataIsFilledAndFrozen) {
  MapSpec spec = make_spec(MapType::array, 4, 12, 1, flag::mmapable);
  spec.is_global_data = spec.frozen = true;
  spec.initial_value = {std::byte{1}, std::byte{2}, std::byte{3}};
  const auto map = made(spec);
  const auto* bytes = static_cast<const std::byte*>(map->direct_value());
  ASSERT_NE(bytes, nullptr);
  EXPECT_EQ(bytes[2], std::byte{3});
  EXPECT_EQ(bytes[3], std::byte{0});
  u32 key = 0, value[3] = {};
  EXPECT_EQ(map->copy_update(&key, value, 0), -EPERM);
  EXPECT_EQ(map->copy_lookup(&key, value), 0);
  EXPECT_EQ(value[0], 0x030201u);
  EXPECT_TRUE(map->info.frozen);
  EXPECT_EQ(shared_memory(*map).error().code, Code::permission) << "programs are verified with what is in it";
  const auto read_only = made(make_spec(MapType::array, 4, 12, 1, flag::mmapable | flag::rdonly_prog));
  EXPECT_EQ(shared_memory(*read_only).error().code, Code::permission);
  spec.initial_value.resize(13);
  EXPECT_FALSE(Map::create(spec));
}

TEST(Map, CreationTouchesNoMemoryAndTakesMicroseconds) {
  using Clock = std::chrono::steady_clock;
  std::vector<std::shared_ptr<Map>> maps;
  auto best = Clock::duration::max();
  for (int i = 0; i < 20; ++i) {
    const auto start = Clock::now();
    maps.push_back(*Map::create(make_spec(MapType::hash, 8, 1024, 10240)));
    best = std::min(best, Clock::now() - start);
  }
  EXPECT_LE(maps.front()->memory_bytes(), 8192u);
  EXPECT_LT(std::chrono::duration_cast<std::chrono::microseconds>(best).count(), 200);
  u64 key = 1, value[128] = {};
  EXPECT_EQ(maps.front()->update(&key, value, 0), 0);
  EXPECT_GT(maps.front()->memory_bytes(), 0u);
  EXPECT_LT(maps.front()->memory_bytes(), 64u << 10);
  // A million entries of a kilobyte: address space, not memory.
  EXPECT_LT(made(make_spec(MapType::hash, 8, 1024, 1u << 20))->memory_bytes(), 64u << 10);
}

TEST(Map, MemoryStaysBoundedWhenElementsComeAndGo) {
  const auto map = made(make_spec(MapType::hash, 8, 64, 1000));
  u64 value[8] = {};
  for (u64 key = 0; key < 1000; ++key) ASSERT_EQ(map->update(&key, value, 0), 0);
  const u64 full = map->memory_bytes();
  for (u64 key = 0; key < 100000; ++key) {
    const u64 old = key, fresh = key + 1000;
    ASSERT_EQ(map->erase(&old), 0);
    ASSERT_EQ(map->update(&fresh, value, 0), 0);
    ASSERT_EQ(map->update(&fresh, value, update_exist), 0);
  }
  u64 extra = 1;
  EXPECT_EQ(map->update(&extra, value, 0), -E2BIG);
  EXPECT_LE(map->memory_bytes(), full + (64u << 10));
}

TEST(Map, AProgramsPointerSeesInPlaceChangesAndSurvivesDeletion) {
  const auto map = made(make_spec(MapType::hash, 4, 8, 4));
  u32 key = 1;
  u64 value = 10;
  map->update(&key, &value, 0);
  void* pointer = map->lookup(&key);
  number_at(pointer) += 5;
  EXPECT_EQ(map->copy_lookup(&key, &value), 0);
  EXPECT_EQ(value, 15u);
  // As in the kernel, an update takes a new element: the old pointer shows the old value.
  value = 99;
  map->update(&key, &value, 0);
  EXPECT_EQ(number_at(pointer), 15u);
  EXPECT_EQ(number_at(map->lookup(&key)), 99u);
  void* last = map->lookup(&key);
  map->erase(&key);
  EXPECT_EQ(number_at(last), 99u);
  EXPECT_EQ(map->lookup(&key), nullptr);
}

TEST(Map, ValuesAreAlignedForAtomics) {
  for (const MapType type : {MapType::hash, MapType::array, MapType::percpu_hash, MapType::percpu_array})
    for (const u32 value_size : {1u, 12u, 24u}) {
      const auto map = made(make_spec(type, 4, value_size, 3));
      std::byte value[24] = {};
      for (u32 key = 0; key < 3; ++key) {
        map->update(&key, value, 0);
        EXPECT_EQ(reinterpret_cast<u64>(map->lookup(&key)) % 8, 0u);
      }
    }
}

TEST(Map, PerCpuValuesBelongToTheCpuOfTheRun) {
  for (const MapType type : {MapType::percpu_hash, MapType::percpu_array, MapType::lru_percpu_hash}) {
    const auto map = made(make_spec(type, 4, 4, 4));
    EXPECT_TRUE(map->is_per_cpu());
    EXPECT_EQ(map->host_value_size(), possible_cpus() * 8);
    const u32 last = possible_cpus() - 1;
    u32 key = 2, seven = 7;
    set_current_cpu(last);
    EXPECT_EQ(map->update(&key, &seven, 0), 0);
    EXPECT_EQ(*static_cast<u32*>(map->lookup(&key)), 7u);
    EXPECT_EQ(map->lookup_percpu(&key, last), map->lookup(&key));
    EXPECT_EQ(map->lookup_percpu(&key, possible_cpus()), nullptr);
    std::vector<u64> all(possible_cpus());
    EXPECT_EQ(map->copy_lookup(&key, all.data()), 0);
    for (u32 cpu = 0; cpu <= last; ++cpu) EXPECT_EQ(all[cpu], cpu == last ? 7u : 0u);
    set_current_cpu(0xffffffff);  // no such CPU
    EXPECT_EQ(current_cpu(), 0u);
    if (type == MapType::percpu_array) continue;
    // A key that comes again on another CPU starts from zero everywhere else.
    for (auto& each : all) each = 5;
    map->copy_update(&key, all.data(), 0);
    map->erase(&key);
    EXPECT_EQ(map->update(&key, &seven, 0), 0);
    EXPECT_EQ(map->copy_lookup(&key, all.data()), 0);
    for (u32 cpu = 0; cpu <= last; ++cpu) EXPECT_EQ(all[cpu], cpu == 0 ? 7u : 0u);
  }
}

TEST(Map, LruKeepsWhatIsUsedAndNeverRefuses) {
  for (const u32 flags : {0u, flag::no_common_lru}) {
    const auto map = made(make_spec(MapType::lru_hash, 4, 8, 64, flags));
    u64 value = 1;
    for (u32 key = 0; key < 10000; ++key) {
      ASSERT_EQ(map->update(&key, &value, 0), 0);
      const u32 favourite = 3;
      if (key >= favourite) {
        ASSERT_NE(map->lookup(&favourite), nullptr) << key;
      }
    }
    std::set<u32> keys;
    u32 key = 0, next = 0;
    for (const u32* from = nullptr; map->next_key(from, &next) == 0; from = &key) {
      key = next;
      keys.insert(key);
    }
    EXPECT_EQ(keys.size(), 64u);
    EXPECT_TRUE(keys.contains(9999));
  }
}

TEST(Map, IterationRestartsWhenItsKeyIsGone) {
  const auto map = made(make_spec(MapType::hash, 4, 4, 16));
  for (u32 key = 0; key < 16; ++key) map->update(&key, &key, 0);
  u32 first = 0, second = 0, next = 0;
  ASSERT_EQ(map->next_key(nullptr, &first), 0);
  ASSERT_EQ(map->next_key(&first, &second), 0);
  map->erase(&second);
  ASSERT_EQ(map->next_key(&second, &next), 0);
  EXPECT_EQ(next, first);
}

TEST(Map, ZeroSeedOrdersTheSameEveryTime) {
  std::vector<u32> orders[2];
  for (auto& order : orders) {
    const auto map = made(make_spec(MapType::hash, 4, 4, 64, flag::zero_seed));
    for (u32 key = 0; key < 64; ++key) map->update(&key, &key, 0);
    u32 key = 0, next = 0;
    for (const u32* from = nullptr; map->next_key(from, &next) == 0; from = &key) order.push_back(key = next);
  }
  EXPECT_EQ(orders[0].size(), 64u);
  EXPECT_EQ(orders[0], orders[1]);
}

TEST(Map, BloomFilterForgetsNothingAndClaimsLittle) {
  const auto map = made(make_spec(MapType::bloom_filter, 0, 8, 1000));
  for (u64 value = 0; value < 1000; ++value) EXPECT_EQ(map->push(&value, 0), 0);
  for (u64 value = 0; value < 1000; ++value) EXPECT_EQ(map->peek(&value), 0);
  u32 claimed = 0;
  for (u64 value = 1'000'000; value < 1'010'000; ++value) claimed += map->peek(&value) == 0;
  EXPECT_LT(claimed, 500u);
  u64 value = 1;
  EXPECT_EQ(map->push(&value, 2), -EINVAL);
  EXPECT_EQ(map->pop(&value), -EOPNOTSUPP);
}

TEST(Map, AddressesOfMapsAreKnownInsideOfARun) {
  const auto map = made(make_spec(MapType::array, 4, 8, 100));
  u32 key = 99;
  const u64 address = reinterpret_cast<u64>(map->lookup(&key));
  EXPECT_EQ(map_bytes_from(address), 0u);
  const RunSection section(0);
  EXPECT_GE(map_bytes_from(address), 8u);
  int local = 0;
  EXPECT_EQ(map_bytes_from(reinterpret_cast<u64>(&local)), 0u);
}

TEST(Map, StacksOfRunsAreKnown) {
  char outside[64];
  const auto inner = [](char& seen) {
    char inside[64];
    seen =
        static_cast<char>(RunSection::stack_bytes_from(reinterpret_cast<u64>(inside), __builtin_frame_address(0)) == 0);
    return RunSection::stack_bytes_from(reinterpret_cast<u64>(&seen), __builtin_frame_address(0));
  };
  char seen = 0;
  EXPECT_EQ(inner(seen), 0u);
  const auto run = [&inner] {
    const RunSection section(0);
    const auto program = [&inner] {
      char stack[64];
      return inner(stack[32]);
    };
    const u64 bytes = program();
    return bytes;
  };
  EXPECT_LT(run(), 4096u);
  EXPECT_EQ(RunSection::stack_bytes_from(reinterpret_cast<u64>(outside), __builtin_frame_address(0)), 0u);
}

}  // namespace
}  // namespace skep::map
