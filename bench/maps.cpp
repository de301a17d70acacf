// What one map operation costs as a program sees it: through the helper table, in nanoseconds.
//
// Keys are drawn beforehand from the map's own (10,000 entries, all present), so hash figures include the cache
// misses of random access; "hot" lines use 64 keys. The best of several chunks is printed: other load on the
// machine makes chunks slower, never faster. The empty call is what remains without the map.
//
// Then the parts in bench/maps: programs beside the kernel's maps, two threads, rings under load, memory.
//
//   bench_maps [TEXT] [--json]
//
// With a text: only the programs beside the kernel whose name has it in it, or one of the parts "threads", "rings",
// "memory". With --json: the figures of these, ratios to the kernel's maps most of them; the tables go to stderr.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "catalog/helpers.hpp"
#include "helper/call.hpp"
#include "helper/helpers.hpp"
#include "map/reader.hpp"
#include "map/ringbuf.hpp"
#include "maps/parts.hpp"

namespace {

using namespace skep;
using catalog::HelperId;
using Clock = std::chrono::steady_clock;

constexpr u32 entries = 10000, batch = 4096;

helper::HelperFn helper_of(HelperId id) { return helper::table()[static_cast<u32>(id)]; }
u64 word(const void* pointer) { return reinterpret_cast<u64>(pointer); }

std::shared_ptr<map::Map> make_map(MapType type, u32 key_size, u32 value_size, u32 max_entries) {
  MapSpec spec;
  spec.name = "bench";
  spec.type = type;
  spec.key_size = key_size;
  spec.value_size = value_size;
  spec.max_entries = max_entries;
  auto made = map::Map::create(spec);
  if (!made) {
    fmt::print(stderr, "{}\n", made.error().message);
    std::exit(1);
  }
  return *made;
}

/// Best nanoseconds per operation of `work(batch index)`.
template <class Work>
double best_ns(Work work) {
  double best = 1e18;
  for (int chunk = 0; chunk < 300; ++chunk) {
    const auto begin = Clock::now();
    for (u32 i = 0; i < batch; ++i) work(i);
    best = std::min(best, std::chrono::duration<double, std::nano>(Clock::now() - begin).count() / batch);
  }
  return best;
}

void report(const char* name, double ns) { fmt::print("{:<40} {:8.1f} ns/op\n", name, ns); }

/// Keys of 8 bytes; maps with shorter ones use their first bytes.
std::vector<u64> keys(u32 different) {
  std::mt19937 random(1);
  std::vector<u64> drawn(batch);
  for (u64& key : drawn) key = random() % different;
  return drawn;
}

void look_ups(const char* name, MapType type, u32 key_size, u32 value_size, u32 different) {
  const auto map = make_map(type, key_size, value_size, entries);
  std::vector<u64> value(value_size / 8 * map::possible_cpus());
  for (u64 key = 0; key < entries; ++key) map->copy_update(&key, value.data(), 0);
  const auto drawn = keys(different);
  const auto lookup = helper_of(HelperId::map_lookup_elem);
  u64 sum = 0;
  report(name, best_ns([&](u32 i) { sum += lookup(nullptr, word(map.get()), word(&drawn[i]), 0, 0, 0) != 0; }));
  if (sum == 0) fmt::print(stderr, "{}: nothing was found\n", name);
}

void updates(const char* name, MapType type, u32 key_size, u32 value_size, u32 different) {
  const auto map = make_map(type, key_size, value_size, entries);
  const std::vector<u64> value(value_size / 8 + 1);
  const auto drawn = keys(different);
  const auto update = helper_of(HelperId::map_update_elem);
  report(name, best_ns([&](u32 i) { update(nullptr, word(map.get()), word(&drawn[i]), word(value.data()), 0, 0); }));
}

void insert_and_delete() {
  const auto map = make_map(MapType::hash, 8, 8, entries);
  const auto drawn = keys(entries);
  const u64 value = 1;
  const auto update = helper_of(HelperId::map_update_elem), erase = helper_of(HelperId::map_delete_elem);
  report("hash insert + delete, 8-byte key", best_ns([&](u32 i) {
           update(nullptr, word(map.get()), word(&drawn[i]), word(&value), 0, 0);
           erase(nullptr, word(map.get()), word(&drawn[i]), 0, 0, 0);
         }));
}

/// Writers fill the ring; a chunk's records are taken out between the chunks, outside of the measured time.
void ring_output(u32 size) {
  const auto ring = make_map(MapType::ringbuf, 0, 0, 2u << 20);
  auto reader = *map::open_reader(ring);
  const std::vector<std::byte> data(size);
  const auto output = helper_of(HelperId::ringbuf_output);
  double best = 1e18, best_read = 1e18;
  for (int chunk = 0; chunk < 300; ++chunk) {
    const auto begin = Clock::now();
    for (u32 i = 0; i < batch; ++i)
      output(nullptr, word(ring.get()), word(data.data()), size, map::ring_flag::no_wakeup, 0);
    const auto middle = Clock::now();
    const auto taken = reader.poll(std::chrono::milliseconds(0), [](const Record&) {});
    const auto end = Clock::now();
    if (!taken || *taken != batch) {
      fmt::print(stderr, "ring buffer: {} of {} records came out\n", taken ? *taken : 0, batch);
      return;
    }
    best = std::min(best, std::chrono::duration<double, std::nano>(middle - begin).count() / batch);
    best_read = std::min(best_read, std::chrono::duration<double, std::nano>(end - middle).count() / batch);
  }
  report(fmt::format("ring buffer output, {} bytes", size).c_str(), best);
  report(fmt::format("ring buffer read, {} bytes", size).c_str(), best_read);
}

void ring_reserve_submit() {
  const auto ring = make_map(MapType::ringbuf, 0, 0, 2u << 20);
  auto reader = *map::open_reader(ring);
  helper::Call call;
  double best = 1e18;
  for (int chunk = 0; chunk < 300; ++chunk) {
    const auto begin = Clock::now();
    for (u32 i = 0; i < batch; ++i) {
      const u64 sample = helper_of(HelperId::ringbuf_reserve)(&call, word(ring.get()), 64, 0, 0, 0);
      helper_of(HelperId::ringbuf_submit)(&call, sample, map::ring_flag::no_wakeup, 0, 0, 0);
    }
    best = std::min(best, std::chrono::duration<double, std::nano>(Clock::now() - begin).count() / batch);
    (void)reader.poll(std::chrono::milliseconds(0), [](const Record&) {});
  }
  report("ring buffer reserve + submit, 64 bytes", best);
}

void creation() {
  double best = 1e18;
  for (int i = 0; i < 200; ++i) {
    const auto begin = Clock::now();
    const auto map = make_map(MapType::hash, 8, 64, 10240);
    best = std::min(best, std::chrono::duration<double, std::nano>(Clock::now() - begin).count());
  }
  report("creating a hash of 10240 entries", best);
}

void through_the_helper_table() {
  map::set_current_cpu(0);
  const auto empty = helper_of(HelperId::get_smp_processor_id);
  report("a helper that does nothing", best_ns([&](u32) { empty(nullptr, 0, 0, 0, 0, 0); }));
  report("a run's beginning and end", best_ns([](u32) { const map::RunSection run(0); }));
  look_ups("array look-up", MapType::array, 4, 8, entries);
  look_ups("per-CPU array look-up", MapType::percpu_array, 4, 8, entries);
  look_ups("hash look-up, 4-byte key, hot", MapType::hash, 4, 8, 64);
  look_ups("hash look-up, 8-byte key, hot", MapType::hash, 8, 8, 64);
  look_ups("hash look-up, 4-byte key, 10000 keys", MapType::hash, 4, 8, entries);
  look_ups("hash look-up, 8-byte key, 10000 keys", MapType::hash, 8, 8, entries);
  look_ups("per-CPU hash look-up, 10000 keys", MapType::percpu_hash, 8, 8, entries);
  look_ups("LRU hash look-up, 10000 keys", MapType::lru_hash, 8, 8, entries);
  updates("array update", MapType::array, 4, 8, entries);
  updates("hash update, 8-byte key, hot", MapType::hash, 8, 8, 64);
  updates("hash update, 8-byte key, 10000 keys", MapType::hash, 8, 8, entries);
  updates("per-CPU hash update, 10000 keys", MapType::percpu_hash, 8, 8, entries);
  insert_and_delete();
  ring_output(64);
  ring_output(256);
  ring_reserve_submit();
  creation();
}

}  // namespace

int main(int argc, char** argv) {
  bench::Session session;
  bool json = false;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--json")
      json = true;
    else
      session.only = argv[i];
  }
  if (json) session.out = stderr;
  auto user = user_backend({.serve_control_socket = false});
  if (!user) {
    fmt::print(stderr, "{}\n", user.error().message);
    return 2;
  }
  session.user = *std::move(user);
  if (auto kernel = kernel_backend()) {
    session.kernel = *std::move(kernel);
  } else {
    session.no_kernel = kernel.error().message;
    fmt::print(stderr, "no kernel to compare with: {}\n", session.no_kernel);
  }
  if (!json && session.only.empty()) through_the_helper_table();
  bench::beside_the_kernel(session);
  bench::threads(session);
  bench::rings(session);
  bench::memory(session);
  if (json) fmt::print("{}", session.figures.json());
  return 0;
}
