// What both engines say of many entries at once (<skep/map_batch.hpp>): maps for it, walks, and the rules that are one.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <skep/backend.hpp>
#include <skep/map_batch.hpp>
#include <string_view>
#include <vector>

#include "base/cpus.hpp"

namespace skep::test {

/// A map of its own, with keys of `key_size` and values of 8 bytes.
inline Map map_for_batches(Backend& backend, MapType type, u32 entries, u32 key_size = 4, u32 flags = 0) {
  ObjectSpec spec;
  spec.name = "batches";
  spec.license = "GPL";
  spec.maps.push_back(MapSpec{
      .name = "many", .type = type, .key_size = key_size, .value_size = 8, .max_entries = entries, .flags = flags});
  auto object = backend.load(spec);
  EXPECT_TRUE(object) << object.error().message;
  return object->map("many").value();
}

inline std::vector<u32> keys(u32 from, u32 count) {
  std::vector<u32> made(count);
  for (u32 i = 0; i < count; ++i) made[i] = from + i;
  return made;
}

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& all) {
  return std::as_bytes(std::span(all));
}

/// Bytes as a key of std::map.
inline std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

using Entries = std::map<std::string, std::string>;

/// A whole walk by batches of `room`, which with `take` empties the map.
inline Entries walk(const Map& map, u32 room, bool take) {
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
      EXPECT_TRUE(entries.emplace(text_of(key), text_of(value)).second) << "twice";
    }
  } while (!batch.last);
  return entries;
}

/// Hashes of each kind: what is written is read; what is deleted or taken is gone.
inline void write_read_delete_and_take(Backend& backend) {
  constexpr u32 count = 3000, first = 100;
  for (const MapType type : {MapType::hash, MapType::percpu_hash, MapType::lru_hash}) {
    const Map map = map_for_batches(backend, type, count * 2);
    const std::size_t slots = type == MapType::percpu_hash ? base::possible_cpus() : 1;
    const auto all = keys(first, count);
    std::vector<u64> values(count * slots);
    for (u32 i = 0; i < values.size(); ++i) values[i] = u64{i} << 20;
    const auto written = update_batch(map, bytes_of(all), bytes_of(values));
    ASSERT_FALSE(written.error) << written.error->message;
    EXPECT_EQ(written.count, count);
    const auto expect_from = [&](u32 begin, const Entries& found) {
      ASSERT_EQ(found.size(), count - begin);
      for (u32 i = begin; i < count; ++i) {
        const auto key = std::as_bytes(std::span(all).subspan(i, 1));
        EXPECT_EQ(found.at(text_of(key)), text_of(bytes_of(values).subspan(i * slots * 8, slots * 8))) << i;
      }
    };
    expect_from(0, walk(map, 100, false));
    const auto gone = erase_batch(map, bytes_of(keys(first, 10)));
    ASSERT_FALSE(gone.error) << gone.error->message;
    EXPECT_EQ(gone.count, 10u);
    expect_from(10, walk(map, 512, true));
    EXPECT_FALSE(map.next_key(std::nullopt).value());
    EXPECT_TRUE(walk(map, 512, true).empty());
  }
}

/// The entries before the one that cannot be are done. `there`: what is said of an entry that is there already.
inline void stop_at_the_entry_that_cannot_be(Backend& backend, std::string_view there) {
  const Map map = map_for_batches(backend, MapType::hash, 8);
  const auto written = update_batch(map, bytes_of(keys(1, 20)), bytes_of(std::vector<u64>(20, 7)));
  ASSERT_TRUE(written.error);
  EXPECT_EQ(written.error->code, Code::limit) << written.error->message;
  EXPECT_EQ(written.count, 8u);
  const auto again = update_batch(map, bytes_of(keys(8, 2)), bytes_of(std::vector<u64>(2, 1)), 1);
  ASSERT_TRUE(again.error);
  EXPECT_EQ(again.count, 0u);
  EXPECT_NE(again.error->message.find(there), std::string::npos) << again.error->message;
  const auto gone = erase_batch(map, bytes_of(keys(5, 10)));
  ASSERT_TRUE(gone.error);
  EXPECT_EQ(gone.error->code, Code::not_found) << gone.error->message;
  EXPECT_EQ(gone.count, 4u);
}

/// A walk without room would never end, and a mark of another map leads nowhere.
inline void refuse_walks_that_lead_nowhere(Backend& backend) {
  const Map map = map_for_batches(backend, MapType::hash, 8), wide = map_for_batches(backend, MapType::hash, 8, 64);
  MapBatch none{.room = 0}, other{.room = 2};
  ASSERT_FALSE(update_batch(map, bytes_of(keys(1, 8)), bytes_of(std::vector<u64>(8, 7))).error);
  ASSERT_TRUE(map.next_batch(other));
  ASSERT_FALSE(other.last);
  for (MapBatch* const batch : {&none, &other}) {
    const auto read = wide.next_batch(*batch), taken = take_batch(wide, *batch);
    ASSERT_FALSE(read || taken);
    EXPECT_EQ(read.error().code, Code::invalid_argument) << read.error().message;
    EXPECT_EQ(taken.error().message, read.error().message);
  }
  EXPECT_EQ(map.next_batch(none).error().code, Code::invalid_argument);
  EXPECT_TRUE(map.next_batch(other)) << "its own";
}

/// A trie has no batch that takes: its entries are taken one by one.
inline void take_from_a_trie(Backend& backend) {
  const Map map = map_for_batches(backend, MapType::lpm_trie, 100, 8, map_flag::no_prealloc);
  for (u32 i = 0; i < 50; ++i) {
    const u32 key[2] = {32, i << 24};
    const u64 value = i;
    const auto written = map.update(std::as_bytes(std::span(key)), std::as_bytes(std::span(&value, 1)));
    ASSERT_TRUE(written) << written.error().message;
  }
  std::vector<bool> seen(50);
  for (const auto& [key, value] : walk(map, 16, true)) {
    ASSERT_EQ(value.size(), sizeof(u64));
    seen.at(static_cast<unsigned char>(value[0])) = true;
  }
  EXPECT_EQ(std::ranges::count(seen, true), 50);
  EXPECT_FALSE(map.next_key(std::nullopt).value());
}

}  // namespace skep::test
