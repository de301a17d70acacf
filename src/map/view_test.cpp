// What a map tells machine code: every promise of base/map_view.hpp, taken the way a JIT takes it.
#include <gtest/gtest.h>

#include <cerrno>

#include "map/map.hpp"

namespace skep::map {
namespace {

std::shared_ptr<Map> made(MapType type, u32 key_size, u32 value_size, u32 max_entries, u32 flags = 0) {
  MapSpec spec;
  spec.name = "viewed";
  spec.type = type;
  spec.key_size = key_size;
  spec.value_size = value_size;
  spec.max_entries = max_entries;
  spec.flags = flags;
  auto map = Map::create(spec);
  EXPECT_TRUE(map) << (map ? "" : map.error().message);
  return *map;
}

u64 word(const void* pointer) { return reinterpret_cast<u64>(pointer); }

TEST(MapView, AnArrayIsACompareAndAMultiplication) {
  for (const u32 value_size : {1u, 4u, 8u, 12u, 100u}) {
    const auto map = made(MapType::array, 4, value_size, 7);
    const base::MapView view = map->inline_view();
    ASSERT_EQ(view.kind, base::MapView::Kind::array);
    EXPECT_EQ(view.max_entries, 7u);
    EXPECT_EQ(view.value_size, value_size);
    for (const u32 index : {0u, 1u, 6u, 7u, 0xffffffffu}) {
      const u64 inlined = index < view.max_entries ? view.values + u64{index} * view.stride : 0;
      EXPECT_EQ(inlined, word(map->lookup(&index))) << index;
    }
  }
}

TEST(MapView, DirectFunctionsAreTheMapsOwn) {
  struct Case {
    MapType type;
    u32 key_size, flags;
  };
  for (const auto& [type, key_size, flags] :
       {Case{MapType::array, 4, 0}, Case{MapType::percpu_array, 4, 0}, Case{MapType::hash, 4, 0},
        Case{MapType::hash, 8, 0}, Case{MapType::hash, 16, 0}, Case{MapType::hash, 13, 0},
        Case{MapType::percpu_hash, 4, 0}, Case{MapType::lru_hash, 8, 0}, Case{MapType::lru_percpu_hash, 8, 0},
        Case{MapType::lpm_trie, 8, flag::no_prealloc}}) {
    SCOPED_TRACE(std::string(name_of(type)) + ", key " + std::to_string(key_size));
    const auto map = made(type, key_size, 8, 16, flags);
    const base::MapView view = map->inline_view();
    ASSERT_NE(view.lookup, nullptr);
    const u64 self = word(map.get());
    const u8 key[16] = {3};
    const u64 value = 42;
    const bool is_array = type == MapType::array || type == MapType::percpu_array;
    EXPECT_EQ(view.lookup(nullptr, self, word(key), 0, 0, 0) != 0, is_array);
    EXPECT_EQ(view.update(nullptr, self, word(key), word(&value), update_any, 0), 0u);
    EXPECT_EQ(static_cast<s64>(view.update(nullptr, self, word(key), word(&value), update_noexist, 0)), -EEXIST);
    const u64 found = view.lookup(nullptr, self, word(key), 0, 0, 0);
    ASSERT_NE(found, 0u);
    EXPECT_EQ(found, word(map->lookup(key)));
    EXPECT_EQ(*reinterpret_cast<const u64*>(found), 42u);
    EXPECT_EQ(static_cast<s64>(view.erase(nullptr, self, word(key), 0, 0, 0)), is_array ? -EINVAL : 0);
    EXPECT_EQ(view.lookup(nullptr, self, word(key), 0, 0, 0) != 0, is_array);
  }
}

TEST(MapView, MapsWithoutLookUpsOfferNothing) {
  for (const MapType type : {MapType::queue, MapType::stack, MapType::bloom_filter}) {
    const base::MapView view = made(type, 0, 8, 4)->inline_view();
    EXPECT_EQ(view.kind, base::MapView::Kind::none);
    EXPECT_EQ(view.lookup, nullptr);
    EXPECT_EQ(view.value_size, 8u);
  }
}

}  // namespace
}  // namespace skep::map
