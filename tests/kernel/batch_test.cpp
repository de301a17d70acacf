// Many entries of a map by one call: all of them, up to the first that cannot be, and where the kernel has no batches.
#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <skep/map_batch.hpp>

#include "base/cpus.hpp"
#include "support.hpp"

namespace skep::kernel_test {
namespace {

class Batches : public KernelEngine {
 protected:
  /// A map of its own, with keys of 4 and values of 8 bytes.
  Map make(MapType type, u32 entries) {
    ObjectSpec spec;
    spec.name = "batches";
    spec.license = "GPL";
    spec.maps.push_back(MapSpec{.name = "many", .type = type, .key_size = 4, .value_size = 8, .max_entries = entries});
    auto object = backend->load(spec);
    EXPECT_TRUE(object) << object.error().message;
    return object->map("many").value();
  }
  static std::vector<u32> keys(u32 from, u32 count) {
    std::vector<u32> made(count);
    for (u32 i = 0; i < count; ++i) made[i] = from + i;
    return made;
  }
  template <class T>
  static std::span<const std::byte> bytes_of(const std::vector<T>& all) {
    return std::as_bytes(std::span(all));
  }
};

TEST_F(Batches, AreWrittenAndDeleted) {
  constexpr u32 count = 5000;
  const Map map = make(MapType::hash, count + 10);
  const auto all = keys(100, count);
  std::vector<u64> values(count);
  for (u32 i = 0; i < count; ++i) values[i] = i * 3;
  const auto written = update_batch(map, bytes_of(all), bytes_of(values));
  ASSERT_FALSE(written.error) << written.error->message;
  EXPECT_EQ(written.count, count);
  EXPECT_EQ(map.get<u64>(u32{100}).value(), 0u);
  EXPECT_EQ(map.get<u64>(u32{100 + count - 1}).value(), (count - 1) * u64{3});
  const auto gone = erase_batch(map, bytes_of(keys(100, count - 1)));
  ASSERT_FALSE(gone.error) << gone.error->message;
  EXPECT_EQ(gone.count, count - 1);
  EXPECT_EQ(map.lookup(std::as_bytes(std::span(all).first(1))).error().code, Code::not_found);
  EXPECT_EQ(map.get<u64>(u32{100 + count - 1}).value(), (count - 1) * u64{3});
}

TEST_F(Batches, StopAtTheEntryThatCannotBe) {
  const Map map = make(MapType::hash, 8);
  const auto all = keys(1, 20);
  const std::vector<u64> values(20, 7);
  const auto written = update_batch(map, bytes_of(all), bytes_of(values));
  ASSERT_TRUE(written.error);
  EXPECT_EQ(written.error->code, Code::limit) << written.error->message;
  EXPECT_EQ(written.count, 8u);
  const auto again = update_batch(map, bytes_of(keys(8, 2)), bytes_of(std::vector<u64>(2, 1)), 1);
  ASSERT_TRUE(again.error);
  EXPECT_EQ(again.count, 0u);
  EXPECT_NE(again.error->message.find("exists already"), std::string::npos) << again.error->message;
  const auto gone = erase_batch(map, bytes_of(keys(5, 10)));
  ASSERT_TRUE(gone.error);
  EXPECT_EQ(gone.error->code, Code::not_found) << gone.error->message;
  EXPECT_EQ(gone.count, 4u);
}

/// Takes all entries by batches of `room`, and says what they were.
std::map<u32, std::vector<std::byte>> take_all(const Map& map, u32 room) {
  std::map<u32, std::vector<std::byte>> taken;
  MapBatch batch{.room = room};
  do {
    const auto done = take_batch(map, batch);
    EXPECT_TRUE(done) << done.error().message;
    if (!done) return taken;
    const std::size_t value_bytes = batch.count == 0 ? 0 : batch.values.size() / batch.count;
    for (u32 i = 0; i < batch.count; ++i) {
      u32 key = 0;
      std::memcpy(&key, batch.keys.data() + i * map.info().key_size, sizeof key);
      const auto value = std::span(batch.values).subspan(i * value_bytes, value_bytes);
      EXPECT_TRUE(taken.emplace(key, std::vector(value.begin(), value.end())).second) << "twice: " << key;
    }
  } while (!batch.last);
  return taken;
}

TEST_F(Batches, AreTakenOut) {
  constexpr u32 count = 3000;
  for (const MapType type : {MapType::hash, MapType::percpu_hash, MapType::lru_hash}) {
    const Map map = make(type, count * 2);
    const std::size_t slots = type == MapType::percpu_hash ? base::possible_cpus() : 1;
    const auto all = keys(100, count);
    std::vector<u64> values(count * slots);
    for (u32 i = 0; i < values.size(); ++i) values[i] = i * 3;
    const auto written = update_batch(map, bytes_of(all), bytes_of(values));
    ASSERT_FALSE(written.error) << written.error->message;
    const auto taken = take_all(map, 512);
    ASSERT_EQ(taken.size(), count);
    for (u32 i = 0; i < count; ++i)
      EXPECT_TRUE(std::ranges::equal(taken.at(100 + i), bytes_of(values).subspan(i * slots * 8, slots * 8))) << i;
    EXPECT_FALSE(map.next_key(std::nullopt).value());
    EXPECT_TRUE(take_all(map, 512).empty());
  }
}

TEST_F(Batches, AreTakenOneByOneWhereTheKernelHasNoSuchBatch) {
  ObjectSpec spec;
  spec.name = "tries";
  spec.license = "GPL";
  spec.maps.push_back(MapSpec{.name = "many",
                              .type = MapType::lpm_trie,
                              .key_size = 8,
                              .value_size = 8,
                              .max_entries = 100,
                              .flags = map_flag::no_prealloc});
  auto object = backend->load(spec);
  ASSERT_OK(object);
  const Map map = object->map("many").value();
  for (u32 i = 0; i < 50; ++i) {
    const u32 key[2] = {32, i << 24};
    const u64 value = i;
    ASSERT_OK(map.update(std::as_bytes(std::span(key)), std::as_bytes(std::span(&value, 1))));
  }
  MapBatch batch{.room = 16};
  std::set<u64> seen;
  for (int steps = 0; !batch.last && steps < 100; ++steps) {
    ASSERT_OK(take_batch(map, batch));
    for (u32 i = 0; i < batch.count; ++i) {
      u64 value = 0;
      std::memcpy(&value, batch.values.data() + i * sizeof value, sizeof value);
      EXPECT_TRUE(seen.insert(value).second) << value;
    }
  }
  EXPECT_EQ(seen.size(), 50u);
  EXPECT_FALSE(map.next_key(std::nullopt).value());
}

TEST_F(Batches, OfMapsWhoseElementsStayCannotBeTaken) {
  MapBatch batch;
  const auto array = take_batch(make(MapType::array, 4), batch);
  ASSERT_FALSE(array);
  EXPECT_EQ(array.error().code, Code::unsupported) << array.error().message;
  const Map frozen = make(MapType::hash, 4);
  ASSERT_FALSE(update_batch(frozen, bytes_of(keys(1, 2)), bytes_of(std::vector<u64>(2, 5))).error);
  if (const auto done = frozen.freeze(); !done) GTEST_SKIP() << done.error().message;
  const auto refused = take_batch(frozen, batch = {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::permission) << refused.error().message;
}

TEST_F(Batches, OfValuesOfEveryCpu) {
  const Map map = make(MapType::percpu_hash, 8);
  const std::size_t cpus = base::possible_cpus();
  std::vector<u64> values(3 * cpus);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = i;
  const auto all = keys(1, 3);
  const auto written = update_batch(map, bytes_of(all), bytes_of(values));
  ASSERT_FALSE(written.error) << written.error->message;
  for (u32 i = 0; i < 3; ++i) {
    const auto read = map.lookup(std::as_bytes(std::span(all).subspan(i, 1)));
    ASSERT_OK(read);
    EXPECT_TRUE(std::ranges::equal(*read, bytes_of(values).subspan(i * cpus * 8, cpus * 8)));
  }
}

TEST_F(Batches, OfMapsWhoseElementsStay) {
  const Map map = make(MapType::array, 4);
  const auto gone = erase_batch(map, bytes_of(keys(0, 2)));
  ASSERT_TRUE(gone.error);
  EXPECT_EQ(gone.error->code, Code::unsupported) << gone.error->message;
  EXPECT_EQ(gone.count, 0u);
}

TEST_F(Batches, WhatDoesNotFitIsRefused) {
  const Map map = make(MapType::hash, 8);
  const auto some = keys(1, 3);
  const auto odd = update_batch(map, bytes_of(some).first(10), bytes_of(std::vector<u64>(3)));
  ASSERT_TRUE(odd.error);
  EXPECT_EQ(odd.error->code, Code::invalid_argument);
  const auto few = update_batch(map, bytes_of(some), bytes_of(std::vector<u64>(2)));
  ASSERT_TRUE(few.error);
  EXPECT_EQ(few.error->code, Code::invalid_argument) << few.error->message;
  EXPECT_EQ(few.count, 0u);
  const auto none = update_batch(map, {}, {});
  EXPECT_FALSE(none.error);
  EXPECT_EQ(none.count, 0u);
}

}  // namespace
}  // namespace skep::kernel_test
