// Many entries of the user engine's maps at once: what <skep/map_batch.hpp> says, on maps of every kind of batch.
#include <algorithm>
#include <cstring>
#include <map>
#include <skep/map_batch.hpp>

#include "base/cpus.hpp"
#include "support.hpp"

namespace skep {
namespace {

class UserBatches : public ::testing::Test {
 protected:
  /// A map of its own, with keys of `key_size` and values of 8 bytes.
  Map make(MapType type, u32 entries, u32 key_size = 4, u32 flags = 0) {
    ObjectSpec spec;
    spec.name = "batches";
    spec.license = "GPL";
    spec.maps.push_back(MapSpec{
        .name = "many", .type = type, .key_size = key_size, .value_size = 8, .max_entries = entries, .flags = flags});
    auto object = engine->load(spec);
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
  using Entries = std::map<std::vector<std::byte>, std::vector<std::byte>>;
  /// A whole walk by batches of `room`.
  static Entries walk(const Map& map, u32 room, bool take) {
    Entries entries;
    MapBatch batch{.room = room};
    do {
      const auto done = take ? take_batch(map, batch) : map.next_batch(batch);
      EXPECT_TRUE(done) << done.error().message;
      if (!done) return entries;
      const std::size_t key_bytes = map.info().key_size;
      const std::size_t value_bytes = batch.count == 0 ? 0 : batch.values.size() / batch.count;
      for (u32 i = 0; i < batch.count; ++i) {
        const auto key = std::span(batch.keys).subspan(i * key_bytes, key_bytes);
        const auto value = std::span(batch.values).subspan(i * value_bytes, value_bytes);
        EXPECT_TRUE(
            entries.emplace(std::vector(key.begin(), key.end()), std::vector(value.begin(), value.end())).second);
      }
    } while (!batch.last);
    return entries;
  }

  std::unique_ptr<Backend> engine = user_backend({.serve_control_socket = false}).value();
};

TEST_F(UserBatches, AreWrittenReadTakenAndDeleted) {
  constexpr u32 count = 3000;
  for (const MapType type : {MapType::hash, MapType::percpu_hash, MapType::lru_hash}) {
    const Map map = make(type, count * 2);
    const std::size_t slots = type == MapType::percpu_hash ? base::possible_cpus() : 1;
    const auto all = keys(7, count);
    std::vector<u64> values(count * slots);
    for (u32 i = 0; i < values.size(); ++i) values[i] = u64{i} << 20;
    const auto written = update_batch(map, bytes_of(all), bytes_of(values));
    ASSERT_FALSE(written.error) << written.error->message;
    EXPECT_EQ(written.count, count);
    const auto read = walk(map, 100, false);
    ASSERT_EQ(read.size(), count);
    for (u32 i = 0; i < count; ++i)
      EXPECT_TRUE(std::ranges::equal(read.at(test::bytes(all[i])), bytes_of(values).subspan(i * slots * 8, slots * 8)));
    const auto gone = erase_batch(map, bytes_of(keys(7, 10)));
    ASSERT_FALSE(gone.error) << gone.error->message;
    EXPECT_EQ(gone.count, 10u);
    EXPECT_EQ(walk(map, 100, true).size(), count - 10);
    EXPECT_TRUE(walk(map, 100, true).empty());
  }
}

TEST_F(UserBatches, StopAtTheEntryThatCannotBe) {
  const Map map = make(MapType::hash, 8);
  const auto written = update_batch(map, bytes_of(keys(1, 20)), bytes_of(std::vector<u64>(20, 7)));
  ASSERT_TRUE(written.error);
  EXPECT_EQ(written.error->code, Code::limit) << written.error->message;
  EXPECT_EQ(written.count, 8u);
  const auto again = update_batch(map, bytes_of(keys(8, 2)), bytes_of(std::vector<u64>(2, 1)), 1);
  ASSERT_TRUE(again.error);
  EXPECT_EQ(again.count, 0u);
  EXPECT_NE(again.error->message.find("there already"), std::string::npos) << again.error->message;
  const auto gone = erase_batch(map, bytes_of(keys(5, 10)));
  ASSERT_TRUE(gone.error);
  EXPECT_EQ(gone.error->code, Code::not_found) << gone.error->message;
  EXPECT_EQ(gone.count, 4u);
  const auto few = update_batch(map, bytes_of(keys(1, 3)), bytes_of(std::vector<u64>(2)));
  ASSERT_TRUE(few.error);
  EXPECT_EQ(few.error->code, Code::invalid_argument) << few.error->message;
}

TEST_F(UserBatches, OfArraysAreReadAndWrittenOnly) {
  const Map map = make(MapType::array, 40);
  const auto written = update_batch(map, bytes_of(keys(0, 40)), bytes_of(std::vector<u64>(40, 9)));
  ASSERT_FALSE(written.error) << written.error->message;
  EXPECT_EQ(walk(map, 7, false).size(), 40u);
  MapBatch batch;
  const auto taken = take_batch(map, batch);
  ASSERT_FALSE(taken);
  const auto gone = erase_batch(map, bytes_of(keys(0, 2)));
  ASSERT_TRUE(gone.error);
  EXPECT_EQ(gone.count, 0u);
  EXPECT_EQ(map.get<u64>(u32{0}).value(), 9u);
}

TEST_F(UserBatches, OfTriesAreTakenOneByOne) {
  const Map map = make(MapType::lpm_trie, 100, 8, map_flag::no_prealloc);
  for (u32 i = 0; i < 50; ++i) {
    const u32 key[2] = {32, i << 24};
    ASSERT_TRUE(map.update(std::as_bytes(std::span(key)), test::bytes(u64{i})));
  }
  EXPECT_EQ(walk(map, 16, true).size(), 50u);
  EXPECT_FALSE(map.next_key(std::nullopt).value());
}

TEST_F(UserBatches, OfFrozenMapsAreRefused) {
  const Map map = make(MapType::hash, 8);
  ASSERT_FALSE(update_batch(map, bytes_of(keys(1, 3)), bytes_of(std::vector<u64>(3, 1))).error);
  ASSERT_TRUE(map.freeze());
  MapBatch batch;
  EXPECT_EQ(take_batch(map, batch).error().code, Code::permission);
  EXPECT_EQ(erase_batch(map, bytes_of(keys(1, 3))).error->code, Code::permission);
  EXPECT_EQ(update_batch(map, bytes_of(keys(1, 3)), bytes_of(std::vector<u64>(3, 1))).error->code, Code::permission);
  EXPECT_EQ(walk(map, 2, false).size(), 3u);
}

}  // namespace
}  // namespace skep
