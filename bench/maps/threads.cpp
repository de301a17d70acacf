// What a second thread costs: look-ups and updates of one hash, and a ring that is written and read at once.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <latch>
#include <random>
#include <thread>
#include <vector>

#include "map/reader.hpp"
#include "map/ringbuf.hpp"
#include "maps/parts.hpp"

namespace skep::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr u32 entries = 8192, batch = 1 << 20;

std::shared_ptr<map::Map> make_map(MapType type, u32 key_size, u32 value_size, u32 max_entries) {
  MapSpec spec;
  spec.name = "bench";
  spec.type = type;
  spec.key_size = key_size;
  spec.value_size = value_size;
  spec.max_entries = max_entries;
  auto made = map::Map::create(spec);
  return made ? *made : nullptr;
}

/// Million operations a second of `count` threads together; the best of some rounds.
double millions(map::Map& map, base::HelperFn operation, int count) {
  double best = 0;
  for (int round = 0; round < 7; ++round) {
    std::latch together(count + 1);
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i)
      threads.emplace_back([&, i] {
        u64 state = static_cast<u64>(i) * 77 + 5, key = 0, value = 1;
        together.arrive_and_wait();
        for (u32 n = 0; n < batch; ++n) {
          state = state * 6364136223846793005 + 1442695040888963407;
          key = state >> 33 & (entries - 1);
          operation(nullptr, reinterpret_cast<u64>(&map), reinterpret_cast<u64>(&key), reinterpret_cast<u64>(&value), 0,
                    0);
        }
      });
    together.arrive_and_wait();
    const auto begin = Clock::now();
    for (auto& thread : threads) thread.join();
    const double spent = std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
    best = std::max(best, batch * static_cast<double>(count) / spent);
  }
  return best;
}

void scaling(const char* name, MapType type, bool update) {
  const auto map = make_map(type, 8, 8, entries);
  if (map == nullptr) return;
  std::vector<u64> value(map->host_value_size() / 8, 1);
  for (u64 key = 0; key < entries; ++key) map->copy_update(&key, value.data(), 0);
  const base::MapView view = map->inline_view();
  const auto operation = update ? view.update : view.lookup;
  const double one = millions(*map, operation, 1), two = millions(*map, operation, 2);
  fmt::print("{:<36} {:>9.0f} {:>9.0f} {:>9.2f}\n", name, one, two, two / one);
}

/// A producer at full speed while a reader takes the records out: records a second, read and lost.
void ring() {
  const auto map = make_map(MapType::ringbuf, 0, 0, 8u << 20);
  auto reader = *map::open_reader(map);
  constexpr u64 records = 20'000'000;
  std::atomic<bool> done{false};
  u64 read = 0;
  std::thread consumer([&] {
    const auto count = [&](const Record&) { ++read; };
    while (!done.load(std::memory_order_acquire)) (void)reader.poll(std::chrono::milliseconds(1), count);
    while (reader.poll(std::chrono::milliseconds(0), count).value_or(0) > 0) {
    }
  });
  const u64 data[8] = {};
  u64 refused = 0;
  const auto begin = Clock::now();
  for (u64 i = 0; i < records; ++i) refused += map::ringbuf_output(*map, data, sizeof data, 0) != 0;
  const double spent = std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
  done.store(true, std::memory_order_release);
  consumer.join();
  fmt::print(
      "\nring buffer, 64 bytes, one producer and one reader: {:.1f} million tried a second, {:.1f} million read a "
      "second; {} read + {} lost = {} ({})\n",
      static_cast<double>(records) / spent, static_cast<double>(read) / spent, read, reader.lost(),
      read + reader.lost(), read + reader.lost() == records && refused == reader.lost() ? "all counted" : "WRONG");
}

}  // namespace

void threads() {
  fmt::print("\n{:<36} {:>9} {:>9} {:>9}\n", "million operations a second", "1 thread", "2 threads", "ratio");
  scaling("hash look-up, 8192", MapType::hash, false);
  scaling("hash update, 8192", MapType::hash, true);
  scaling("LRU hash look-up, 8192", MapType::lru_hash, false);
  scaling("per-CPU hash update, 8192", MapType::percpu_hash, true);
  ring();
}

}  // namespace skep::bench
