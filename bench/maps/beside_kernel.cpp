// One eBPF program that looks up (or updates) 64 random keys, run by both engines on maps of the same content.
//
// The random state lives in the packet, so that no two runs ask for the same keys; an equal program without the map
// operation is subtracted. Rounds of the engines alternate, the median of 9 rounds is printed. The plain table is an
// open-addressing array of the same keys in one thread without deletion: what a program would have without maps.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <skep/backend.hpp>
#include <vector>

#include "base/cpus.hpp"
#include "maps/parts.hpp"
#include "maps/programs.hpp"

namespace skep::bench {
namespace {

using Bytes = std::vector<std::byte>;

constexpr u32 repeat = 2000, rounds = 9;

struct Case {
  const char* name;
  MapType type;
  u32 key_size, entries;
  Keys keys;
  Operation operation;
  u32 filled = 0;  ///< entries at the start, and how many keys are drawn; 0: all
  u32 drawn = 0;   ///< how many keys are drawn, where not the same

  u32 keys_filled() const { return filled != 0 ? filled : entries; }
  u32 mask() const { return (drawn != 0 ? drawn : keys_filled()) - 1; }
};

MapSpec map_of(const Case& what) {
  constexpr u32 no_prealloc = 1;
  MapSpec map;
  map.type = what.type;
  map.key_size = what.key_size;
  map.value_size = what.type == MapType::ringbuf ? 0 : 8;
  map.max_entries = what.entries;
  map.flags = what.type == MapType::lpm_trie ? no_prealloc : 0;
  return map;
}

struct Share {
  u32 bits, per_cent;
};
/// Roughly the lengths in today's full tables of the Internet.
constexpr Share lengths4[] = {{24, 60}, {23, 10}, {22, 11}, {21, 5}, {20, 5},
                              {19, 3},  {18, 2},  {17, 1},  {16, 2}, {14, 1}};
constexpr Share lengths6[] = {{48, 47}, {32, 13}, {44, 10}, {40, 10}, {36, 6},
                              {29, 5},  {33, 3},  {46, 3},  {34, 2},  {24, 1}};

template <std::size_t Count>
u32 length_of(const Share (&shares)[Count], std::mt19937_64& random) {
  u32 left = static_cast<u32>(random() % 100);
  for (const Share& share : shares) {
    if (left < share.per_cent) return share.bits;
    left -= share.per_cent;
  }
  return shares[0].bits;
}

/// One prefix: of 8 to 32 random bits, or as in a routing table, where prefixes lie close together in the blocks that
/// were handed out.
void draw_prefix(Keys keys, std::mt19937_64& random, Bytes& key) {
  u32 bits = 8 + static_cast<u32>(random() % 25), address = static_cast<u32>(random());
  if (keys == Keys::routes) {
    constexpr u32 blocks = 40000, block_bits = 16;
    bits = length_of(lengths4, random);
    const u32 block = static_cast<u32>(random() % blocks) * 2654435761u;
    address = __builtin_bswap32((block >> block_bits << block_bits) | (address >> block_bits));
  } else if (keys == Keys::routes6) {
    bits = length_of(lengths6, random);
    address = (address & routes6_mask) | 0x20;
    const u64 rest = random();
    std::memcpy(key.data() + 8, &rest, 8);
  }
  std::memcpy(key.data(), &bits, 4);
  std::memcpy(key.data() + 4, &address, 4);
}

/// Bytes of one value as Map::update() takes it.
std::size_t value_bytes(const Map& map) {
  const MapType type = map.info().type;
  const bool per_cpu =
      type == MapType::percpu_hash || type == MapType::percpu_array || type == MapType::lru_percpu_hash;
  return sizeof(u64) * (per_cpu ? base::possible_cpus() : 1);
}

/// The same content in every map: all indices, or prefixes. Queues, stacks and rings begin empty.
Result<void> fill(Object& object, const Case& what) {
  if (what.type == MapType::queue || what.type == MapType::stack || what.type == MapType::ringbuf) return {};
  const Map map = SKEP_TRY(object.map("table"));
  Bytes key(what.key_size), value(value_bytes(map), std::byte{1});
  std::mt19937_64 random(7);
  for (u32 i = 0; i < what.keys_filled(); ++i) {
    std::fill(key.begin(), key.end(), std::byte{0});
    if (is_address(what.keys)) {
      draw_prefix(what.keys, random, key);
    } else if (key.empty()) {
      std::memset(value.data(), 0, value.size());
      std::memcpy(value.data(), &i, sizeof i);  // bloom filters: the value is what is looked for
    } else {
      std::memcpy(key.data(), &i, sizeof i);
    }
    SKEP_TRY(map.update(key, value));
  }
  return {};
}

/// One engine with the measured program and the empty one.
class Side {
 public:
  static Result<Side> make(Backend& engine, const Case& what) {
    Side side;
    side.object_.emplace(
        SKEP_TRY(engine.load(object_of(map_of(what), what.keys, what.mask(), {what.operation, Operation::nothing}))));
    SKEP_TRY(fill(*side.object_, what));
    const Map table = SKEP_TRY(side.object_->map("table"));
    if (what.type == MapType::ringbuf) side.reader_.emplace(SKEP_TRY(table.open_ring()));
    return side;
  }

  /// Nanoseconds of one operation in one round.
  Result<double> round() {
    const double with = SKEP_TRY(time(0)), without = SKEP_TRY(time(1));
    return (with - without) / operations;
  }

 private:
  Result<double> time(std::size_t index) {
    TestRun run;
    run.data = packet_;
    run.repeat = repeat;
    const auto result = SKEP_TRY(object_->programs()[index].test_run(run));
    packet_ = result.data;
    if (reader_) SKEP_TRY(reader_->poll(std::chrono::milliseconds(0), [](const Record&) {}));
    return static_cast<double>(result.duration_ns);
  }
  std::optional<Object> object_;
  std::optional<RingReader> reader_;
  Bytes packet_ = Bytes(packet_bytes, std::byte{3});
};

double median(std::vector<double> numbers) {
  std::ranges::sort(numbers);
  return numbers[numbers.size() / 2];
}

/// An open-addressing table of u64 keys, as plain as can be.
class PlainTable {
 public:
  explicit PlainTable(u32 entries) : keys_(entries * 2, ~u64{0}), values_(entries * 2), mask_(entries * 2 - 1) {
    for (u64 key = 0; key < entries; ++key) {
      u64 at = place(key);
      while (keys_[at] != ~u64{0}) at = (at + 1) & mask_;
      keys_[at] = key;
      values_[at] = 1;
    }
  }
  u64* find(u64 key) {
    for (u64 at = place(key); keys_[at] != ~u64{0}; at = (at + 1) & mask_)
      if (keys_[at] == key) return &values_[at];
    return nullptr;
  }

 private:
  u64 place(u64 key) const { return (key * 0x9e3779b97f4a7c15) >> 32 & mask_; }
  std::vector<u64> keys_, values_;
  u64 mask_;
};

double plain_round(PlainTable& table, u32 mask, bool update, u64& state) {
  using Clock = std::chrono::steady_clock;
  const auto timed = [&](bool with) {
    u64 sum = 0;
    const auto begin = Clock::now();
    for (u32 i = 0; i < operations * repeat; ++i) {
      state = state * multiplier + increment;
      const u64 key = state >> 33 & mask;
      if (!with)
        sum += key;
      else if (u64* value = table.find(key); value != nullptr)
        sum += update ? * value = state : *value;
    }
    const double spent = std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
    state ^= sum & 1;
    return spent / (operations * repeat);
  };
  const double with = timed(true);
  return with - timed(false);
}

struct Rounds {
  std::vector<double> ours, theirs, plain;
};

Result<Rounds> measure(Session& session, const Case& what) {
  auto ours = SKEP_TRY(Side::make(*session.user, what));
  std::optional<Side> theirs;
  if (session.kernel != nullptr) theirs.emplace(SKEP_TRY_AT("kernel", Side::make(*session.kernel, what)));
  const bool has_plain = what.keys == Keys::number && what.type != MapType::bloom_filter;
  PlainTable table(has_plain ? what.keys_filled() : 1);
  u64 state = 11;
  Rounds all;
  for (u32 i = 0; i < rounds + 2; ++i) {  // the first two warm up: caches, and the user engine's second compiler
    const double a = SKEP_TRY(ours.round()), b = theirs ? SKEP_TRY(theirs->round()) : 0;
    const bool update = what.operation == Operation::update;
    const double c = has_plain ? plain_round(table, what.keys_filled() - 1, update, state) : 0;
    if (i < 2) continue;
    all.ours.push_back(a);
    if (theirs) all.theirs.push_back(b);
    if (has_plain) all.plain.push_back(c);
  }
  return all;
}

void report(Session& session, const Case& what) {
  const auto all = measure(session, what);
  const std::string figure = fmt::format("{} / kernel", what.name);
  if (!all) {
    fmt::print(stderr, "{}: {}\n", what.name, all.error().message);
    return;
  }
  const auto shown = [](const std::vector<double>& rounds_ns) {
    return rounds_ns.empty() ? std::string("-") : fmt::format("{:.1f}", median(rounds_ns));
  };
  const bool beside = !all->theirs.empty();
  const double ratio = beside ? median(all->ours) / median(all->theirs) : 0;
  fmt::print(session.out, "{:<46} {:>9} {:>9} {:>9} {:>9}\n", what.name, shown(all->ours), shown(all->theirs),
             beside ? fmt::format("{:.2f}", ratio) : "-", shown(all->plain));
  session.compare(figure, median(all->ours), beside ? median(all->theirs) : 1);
  if (!all->plain.empty())
    session.figures.add(fmt::format("{} / plain C++", what.name), median(all->ours) / median(all->plain));
}

constexpr Case cases[] = {
    {"array look-up, 8192", MapType::array, 4, 8192, Keys::index, Operation::look_up},
    {"array update, 8192", MapType::array, 4, 8192, Keys::index, Operation::update},
    {"per-CPU array look-up, 8192", MapType::percpu_array, 4, 8192, Keys::index, Operation::look_up},
    {"hash look-up, 4-byte key, 8192", MapType::hash, 4, 8192, Keys::index, Operation::look_up},
    {"hash look-up, 8-byte key, 8192", MapType::hash, 8, 8192, Keys::number, Operation::look_up},
    {"hash look-up, 8-byte key, 1048576", MapType::hash, 8, 1 << 20, Keys::number, Operation::look_up},
    {"hash update, 8-byte key, 8192", MapType::hash, 8, 8192, Keys::number, Operation::update},
    {"hash insert and delete, 8192", MapType::hash, 8, 8192, Keys::index, Operation::insert_and_erase, 1, 8192},
    {"per-CPU hash look-up, 8192", MapType::percpu_hash, 8, 8192, Keys::number, Operation::look_up},
    {"per-CPU hash update, 8192", MapType::percpu_hash, 8, 8192, Keys::number, Operation::update},
    {"LRU hash look-up, 8192 of 16384", MapType::lru_hash, 8, 16384, Keys::number, Operation::look_up, 8192},
    {"LRU hash update, 8192 of 16384", MapType::lru_hash, 8, 16384, Keys::number, Operation::update, 8192},
    {"LRU hash update, 32768 keys in 8192 places", MapType::lru_hash, 8, 8192, Keys::index, Operation::update, 4096,
     32768},
    {"per-CPU LRU look-up, 8192 of 16384", MapType::lru_percpu_hash, 8, 16384, Keys::number, Operation::look_up, 8192},
    {"per-CPU LRU update, 32768 keys in 8192 places", MapType::lru_percpu_hash, 8, 8192, Keys::index, Operation::update,
     4096, 32768},
    {"queue push and pop", MapType::queue, 0, 1024, Keys::number, Operation::push_and_pop},
    {"stack push and pop", MapType::stack, 0, 1024, Keys::number, Operation::push_and_pop},
    {"bloom filter peek, half are in", MapType::bloom_filter, 0, 8192, Keys::number, Operation::peek, 8192, 16384},
    {"bloom filter push, 8192", MapType::bloom_filter, 0, 8192, Keys::number, Operation::push},
    {"ring buffer output, 64 bytes", MapType::ringbuf, 0, 16 << 20, Keys::number, Operation::output},
    {"ring buffer reserve and submit, 64 bytes", MapType::ringbuf, 0, 16 << 20, Keys::number, Operation::reserve},
    {"LPM look-up, 100000 random prefixes", MapType::lpm_trie, 8, 100000, Keys::address, Operation::look_up},
    {"LPM look-up, 1000000 random prefixes", MapType::lpm_trie, 8, 1000000, Keys::address, Operation::look_up},
    {"LPM look-up, 100000 routes", MapType::lpm_trie, 8, 100000, Keys::routes, Operation::look_up},
    {"LPM look-up, 1000000 routes", MapType::lpm_trie, 8, 1000000, Keys::routes, Operation::look_up},
    {"LPM look-up, 200000 IPv6 routes", MapType::lpm_trie, 20, 200000, Keys::routes6, Operation::look_up},
    {"LPM look-up, 1000000 IPv6 routes", MapType::lpm_trie, 20, 1000000, Keys::routes6, Operation::look_up},
};

}  // namespace

void beside_the_kernel(Session& session) {
  fmt::print(session.out, "\n{:<46} {:>9} {:>9} {:>9} {:>9}\n", "ns per operation in a program", "user", "kernel",
             "ratio", "plain C++");
  for (const Case& each : cases)
    if (session.wants(each.name)) report(session, each);
}

}  // namespace skep::bench
