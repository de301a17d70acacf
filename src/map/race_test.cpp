// Many threads on one map. Each test states an invariant that a torn or lost step would break; run under
// ThreadSanitizer they also show that every shared word is accessed atomically.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <latch>
#include <random>
#include <thread>
#include <vector>

#include "map/reader.hpp"
#include "map/ringbuf.hpp"

namespace skep::map {
namespace {

using namespace std::chrono_literals;

constexpr int rounds = 20000;

MapSpec make_spec(MapType type, u32 key_size, u32 value_size, u32 max_entries, u32 flags = 0) {
  MapSpec spec;
  spec.name = "raced";
  spec.type = type;
  spec.key_size = key_size;
  spec.value_size = value_size;
  spec.max_entries = max_entries;
  spec.flags = flags;
  return spec;
}

u64 load(const void* at) {
  return std::atomic_ref<u64>(*static_cast<u64*>(const_cast<void*>(at))).load(std::memory_order_relaxed);
}

template <class Work>
void on_threads(int count, Work work) {
  std::vector<std::thread> threads;
  std::latch together(count);
  for (int i = 0; i < count; ++i)
    threads.emplace_back([&, i] {
      together.arrive_and_wait();
      work(i);
    });
  for (auto& thread : threads) thread.join();
}

/// Keys that are always there are always found, whatever happens to the others in their chains.
TEST(Race, KeysThatStayAreNeverMissed) {
  for (const u32 key_size : {4u, 8u, 12u}) {
    const auto map = *Map::create(make_spec(MapType::hash, key_size, 16, 64));
    const auto key_of = [&](u64 number) {
      std::array<u32, 4> key{};
      key[0] = static_cast<u32>(number);
      key[2] = key_size > 8 ? static_cast<u32>(number * 3) : 0;
      return key;
    };
    for (u64 stays = 0; stays < 16; ++stays) {
      const u64 value[2] = {stays, ~stays};
      ASSERT_EQ(map->update(key_of(stays).data(), value, 0), 0);
    }
    std::atomic<u64> wrong = 0;
    on_threads(4, [&](int thread) {
      std::mt19937 random(static_cast<u32>(thread) + key_size);
      for (int i = 0; i < rounds; ++i) {
        const u64 stays = random() % 16, comes = 16 + random() % 64;
        if (thread % 2 == 0) {
          const auto key = key_of(stays);
          const void* found = map->lookup(key.data());
          wrong += found == nullptr;
          continue;
        }
        const u64 value[2] = {comes, ~comes};
        const auto key = key_of(comes);
        if (random() % 2 == 0)
          map->update(key.data(), value, 0);
        else
          map->erase(key.data());
        const u64 same[2] = {stays, ~stays};
        wrong += map->update(key_of(stays).data(), same, update_exist) != 0;
      }
    });
    EXPECT_EQ(wrong, 0u);
  }
}

/// The host never copies half of one value and half of another, nor another key's.
TEST(Race, HostCopiesAreWholeValuesOfTheirKey) {
  const auto map = *Map::create(make_spec(MapType::hash, 8, 64, 8));
  for (u64 key = 0; key < 8; ++key) {
    u64 value[8];
    for (u64& word : value) word = key << 32;
    ASSERT_EQ(map->update(&key, value, 0), 0);
  }
  std::atomic<u64> wrong = 0, copied = 0;
  on_threads(4, [&](int thread) {
    std::mt19937 random(static_cast<u32>(thread));
    for (int i = 0; i < rounds; ++i) {
      const u64 key = random() % 12;
      u64 value[8];
      if (thread % 2 == 0) {
        if (map->copy_lookup(&key, value) != 0) continue;
        ++copied;
        for (const u64 word : value) wrong += word != value[0] || word >> 32 != key;
        continue;
      }
      for (u64& word : value) word = key << 32 | static_cast<u32>(i);
      if (random() % 3 == 0)
        map->erase(&key);
      else
        map->update(&key, value, 0);
    }
  });
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(copied, 0u);
}

TEST(Race, TheCountOfElementsIsExact) {
  const auto map = *Map::create(make_spec(MapType::hash, 4, 8, 32));
  on_threads(4, [&](int thread) {
    std::mt19937 random(static_cast<u32>(thread));
    for (int i = 0; i < rounds; ++i) {
      const u32 key = random() % 48;
      const u64 value = key;
      if (random() % 2 == 0)
        map->update(&key, &value, 0);
      else
        map->erase(&key);
    }
  });
  u32 count = 0, key = 0, next = 0;
  for (const u32* from = nullptr; map->next_key(from, &next) == 0; from = &key, ++count) {
    key = next;
    ASSERT_NE(map->lookup(&key), nullptr);
    ASSERT_EQ(load(map->lookup(&key)), key);
  }
  EXPECT_LE(count, 32u);
  for (key = 1000; count < 32; ++key, ++count) {
    const u64 value = 0;
    EXPECT_EQ(map->update(&key, &value, 0), 0);
  }
  const u64 value = 0;
  EXPECT_EQ(map->update(&key, &value, 0), -E2BIG);
}

TEST(Race, LruUnderPressure) {
  const auto map = *Map::create(make_spec(MapType::lru_hash, 4, 8, 32));
  std::atomic<u64> refused = 0, wrong = 0;
  on_threads(4, [&](int thread) {
    std::mt19937 random(static_cast<u32>(thread));
    for (int i = 0; i < rounds; ++i) {
      const u32 key = random() % 200;
      const u64 value = key;
      refused += map->update(&key, &value, 0) != 0;
      u64 copy = 0;
      if (map->copy_lookup(&key, &copy) == 0) wrong += copy != key;
      (void)map->lookup(&key);
    }
  });
  EXPECT_EQ(refused, 0u);
  EXPECT_EQ(wrong, 0u);
}

TEST(Race, PrefixesThatStayAreFound) {
  struct Key {
    u32 bits;
    u8 data[4];
  };
  const auto map = *Map::create(make_spec(MapType::lpm_trie, 8, 8, 64, flag::no_prealloc));
  const Key everything{0, {}};
  const u64 base = 1;
  ASSERT_EQ(map->update(&everything, &base, 0), 0);
  std::atomic<u64> missed = 0;
  on_threads(4, [&](int thread) {
    std::mt19937 random(static_cast<u32>(thread));
    for (int i = 0; i < rounds; ++i) {
      const Key key{thread % 2 == 0 ? 32 : 1 + static_cast<u32>(random()) % 32,
                    {static_cast<u8>(random() % 3), static_cast<u8>(random() % 2), 7, static_cast<u8>(random() % 2)}};
      if (thread % 2 == 0) {
        missed += map->lookup(&key) == nullptr;
      } else if (random() % 2 == 0) {
        const u64 value = 1;
        map->update(&key, &value, 0);
      } else {
        map->erase(&key);
      }
    }
  });
  EXPECT_EQ(missed, 0u);
}

/// While tables are made, grow and go, an address finds the entry that stays or one that covers it more closely.
TEST(Race, TablesOfATrieChangeUnderLookUps) {
  struct Key {
    u32 bits;
    u8 data[4];
  };
  const auto map = *Map::create(make_spec(MapType::lpm_trie, 8, 8, 4096, flag::no_prealloc));
  const auto key_of = [](u32 bits, u32 number) {
    return Key{bits, {10, static_cast<u8>(number), static_cast<u8>(number >> 8 & 3), 0}};
  };
  for (u32 block = 0; block < 256; block += 2) {  // their values say which they are
    const Key key = key_of(16, block);
    const u64 value = block << 8 | 16;
    ASSERT_EQ(map->update(&key, &value, 0), 0);
  }
  std::atomic<u64> wrong = 0;
  on_threads(4, [&](int thread) {
    std::mt19937 random(static_cast<u32>(thread));
    for (int i = 0; i < rounds; ++i) {
      const u32 number = static_cast<u32>(random());
      if (thread % 2 == 0) {
        const Key key = key_of(32, number);
        const void* found = map->lookup(&key);
        // An entry that came and went may have been given to another prefix since: the ones that stay are not.
        wrong += number % 2 == 0 && found == nullptr;
        continue;
      }
      const Key key = key_of(22 + number % 3, number >> 2);
      const u64 value = key.data[1] << 8 | key.bits;
      if (i / 4000 % 2 == 0)
        map->update(&key, &value, 0);
      else
        map->erase(&key);
    }
  });
  EXPECT_EQ(wrong, 0u);
  for (u32 number = 0; number < 1024; ++number) {
    const Key key = key_of(32, number);
    u64 expected = 0;
    const void* found = map->lookup(&key);
    ASSERT_EQ(found == nullptr, map->copy_lookup(&key, &expected) != 0);
    if (found != nullptr) {
      EXPECT_EQ(load(found), expected);
    }
  }
}

/// Every record comes out once, whole, and in its writer's order; what does not come out was counted.
TEST(Race, RingRecordsAreWholeOrderedAndCounted) {
  struct Event {
    u64 writer, number, check[6];
  };
  const auto ring = *Map::create(make_spec(MapType::ringbuf, 0, 0, 8192));
  auto reader = *open_reader(ring);
  constexpr u64 writers = 3;
  std::atomic<u64> running = writers, refused = 0, discarded = 0;
  std::thread host([&] {
    u64 last[writers] = {}, received = 0, wrong = 0;
    const auto take = [&](const Record& record) {
      Event event;
      wrong += record.data.size() != sizeof event;
      std::memcpy(&event, record.data.data(), sizeof event);
      for (const u64 word : event.check) wrong += word != (event.writer << 32 | event.number);
      wrong += event.number <= last[event.writer];
      last[event.writer] = event.number;
      ++received;
    };
    while (running > 0) EXPECT_TRUE(reader.poll(10ms, take));
    EXPECT_TRUE(reader.poll(0ms, take));
    EXPECT_EQ(wrong, 0u);
    EXPECT_EQ(received + refused + discarded, writers * rounds);
    EXPECT_GT(received, 0u);
  });
  on_threads(writers, [&](int thread) {
    for (u64 i = 1; i <= rounds; ++i) {
      Event event{static_cast<u64>(thread), i, {}};
      for (u64& word : event.check) word = event.writer << 32 | event.number;
      if (i % 2 == 0) {
        refused += ringbuf_output(*ring, &event, sizeof event, 0) != 0;
        continue;
      }
      void* sample = ringbuf_reserve(*ring, sizeof event, 0);
      if (sample == nullptr) {
        ++refused;
        continue;
      }
      std::memcpy(sample, &event, sizeof event);
      if (i % 5 == 0) {
        ++discarded;
        ringbuf_discard(sample, 0);
      } else {
        ringbuf_submit(sample, 0);
      }
    }
    --running;
  });
  host.join();
  EXPECT_EQ(reader.lost(), refused);
}

/// A reader that sleeps whenever the ring is empty is always woken.
TEST(Race, NoWakeUpIsLost) {
  const auto ring = *Map::create(make_spec(MapType::ringbuf, 0, 0, 4096));
  const auto back = *Map::create(make_spec(MapType::ringbuf, 0, 0, 4096));
  auto there = *open_reader(ring), here = *open_reader(back);
  constexpr u64 exchanges = 2000;
  std::thread echo([&] {
    for (u64 i = 0; i < exchanges; ++i) {
      const auto count = there.poll(10s, [&](const Record&) { ringbuf_output(*back, "b", 1, 0); });
      if (!count || *count != 1) return;
    }
  });
  u64 done = 0;
  for (; done < exchanges; ++done) {
    ringbuf_output(*ring, "a", 1, 0);
    const auto count = here.poll(10s, [](const Record&) {});
    if (!count || *count != 1) break;
  }
  echo.join();
  EXPECT_EQ(done, exchanges);
}

}  // namespace
}  // namespace skep::map
