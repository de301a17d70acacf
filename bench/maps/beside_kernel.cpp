// One eBPF program that looks up (or updates) 64 random keys, run by both engines on maps of the same content.
//
// The random state lives in the packet, so that no two runs ask for the same keys; an equal program without the map
// operation is subtracted. Rounds of the engines alternate, the median of 9 rounds is printed. The plain table is an
// open-addressing array of the same keys in one thread without deletion: what a program would have without maps.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <random>
#include <skep/backend.hpp>
#include <vector>

#include "catalog/helpers.hpp"
#include "maps/parts.hpp"

namespace skep::bench {
namespace {

using catalog::HelperId;
using Bytes = std::vector<std::byte>;

constexpr u32 operations = 64, repeat = 2000, rounds = 9;
constexpr u64 multiplier = 6364136223846793005, increment = 1442695040888963407;

enum class Operation { nothing, look_up, update };

/// How a random number becomes a key at r10-24 (key_size bytes).
enum class Keys { index, number, address, routes, routes6 };
bool is_address(Keys keys) { return keys >= Keys::address; }

/// The first 4 bytes of an IPv6 address that is looked up: 0x20, 4 random bits, 15 random bits.
constexpr u32 routes6_mask = 0x7fff0f00;

class Code {
 public:
  void add(u8 code, u8 dst, u8 src, s16 off, s32 imm) {
    Insn insn{};
    insn.code = code;
    insn.dst = dst & 15u;
    insn.src = src & 15u;
    insn.off = off;
    insn.imm = imm;
    insns.push_back(insn);
  }
  void wide(u8 dst, u64 value) {
    add(0x18, dst, 0, 0, static_cast<s32>(value));
    add(0, 0, 0, 0, static_cast<s32>(value >> 32));
  }
  std::vector<Insn> insns;
  std::vector<Reference> references;
};

/// r6 packet, r7 random state, r8 sum, r9 multiplier.
std::vector<Insn> program(Operation operation, Keys keys, u32 mask, std::vector<Reference>& references) {
  Code code;
  code.add(0x61, 6, 1, 0, 0);  // r6 = data
  code.add(0x61, 3, 1, 4, 0);  // r3 = data_end
  code.add(0xbf, 2, 6, 0, 0);
  code.add(0x07, 2, 0, 0, 24);
  code.add(0xb7, 0, 0, 0, 0);
  code.add(0x2d, 2, 3, 0, 0);  // if r2 > r3 goto out (offset set below)
  const std::size_t check = code.insns.size() - 1;
  code.add(0x79, 7, 6, 16, 0);  // r7 = state
  code.wide(9, multiplier);
  code.add(0xb7, 8, 0, 0, 0);
  code.wide(4, increment);
  code.add(0x7b, 10, 4, -40, 0);  // the increment
  for (u32 i = 0; i < operations; ++i) {
    code.add(0x2f, 7, 9, 0, 0);  // r7 *= multiplier
    code.add(0x79, 4, 10, -40, 0);
    code.add(0x0f, 7, 4, 0, 0);  // r7 += increment
    code.add(0xbf, 2, 7, 0, 0);
    code.add(0x77, 2, 0, 0, 33);  // the upper bits are the random ones
    if (!is_address(keys)) code.add(0x57, 2, 0, 0, static_cast<s32>(mask));
    if (keys == Keys::routes6) {
      code.add(0x62, 10, 0, -24, 128);
      code.add(0x57, 2, 0, 0, static_cast<s32>(routes6_mask));
      code.add(0x47, 2, 0, 0, 0x20);
      code.add(0x63, 10, 2, -20, 0);
      code.add(0x7b, 10, 7, -16, 0);
      code.add(0x63, 10, 2, -8, 0);
    } else if (is_address(keys)) {
      code.add(0x62, 10, 0, -24, 32);
      code.add(0x63, 10, 2, -20, 0);
    } else if (keys == Keys::index) {
      code.add(0x63, 10, 2, -24, 0);
    } else {
      code.add(0x7b, 10, 2, -24, 0);
    }
    if (operation == Operation::nothing) {
      code.add(0x0f, 8, 2, 0, 0);
      continue;
    }
    code.add(0xbf, 2, 10, 0, 0);
    code.add(0x07, 2, 0, 0, -24);
    references.push_back({.insn = static_cast<u32>(code.insns.size()), .kind = Reference::Kind::map, .map = 0});
    code.add(0x18, 1, 1, 0, 0);
    code.add(0, 0, 0, 0, 0);
    if (operation == Operation::look_up) {
      code.add(0x85, 0, 0, 0, static_cast<s32>(HelperId::map_lookup_elem));
      code.add(0x15, 0, 0, 2, 0);
      code.add(0x79, 0, 0, 0, 0);
      code.add(0x0f, 8, 0, 0, 0);
    } else {
      code.add(0x7b, 10, 7, -32, 0);
      code.add(0xbf, 3, 10, 0, 0);
      code.add(0x07, 3, 0, 0, -32);
      code.add(0xb7, 4, 0, 0, 0);
      code.add(0x85, 0, 0, 0, static_cast<s32>(HelperId::map_update_elem));
      code.add(0x0f, 8, 0, 0, 0);
    }
  }
  code.add(0x7b, 6, 7, 16, 0);  // state
  code.add(0xbf, 0, 8, 0, 0);
  code.add(0x95, 0, 0, 0, 0);
  code.insns[check].off = static_cast<s16>(code.insns.size() - 2 - check);
  return code.insns;
}

struct Case {
  const char* name;
  MapType type;
  u32 key_size, entries;
  u32 flags;
  Keys keys;
  Operation operation;
};

ObjectSpec object_of(const Case& what, Operation operation) {
  ObjectSpec spec;
  spec.name = "bench";
  spec.license = "GPL";
  MapSpec map;
  map.name = "table";
  map.type = what.type;
  map.key_size = what.key_size;
  map.value_size = 8;
  map.max_entries = what.entries;
  map.flags = what.flags;
  spec.maps.push_back(map);
  ProgramSpec made;
  made.name = "measured";
  made.type = ProgramType::xdp;
  made.section = "xdp";
  made.insns = program(operation, what.keys, what.entries - 1, made.references);
  made.functions = {{.insn = 0, .name = "measured"}};
  spec.programs.push_back(std::move(made));
  return spec;
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

/// The same content in every map: all indices, or prefixes.
Result<void> fill(Object& object, const Case& what) {
  const Map map = SKEP_TRY(object.map("table"));
  const std::size_t value_bytes =
      map.info().type == MapType::percpu_hash || map.info().type == MapType::percpu_array ? 0 : sizeof(u64);
  Bytes key(what.key_size), value(sizeof(u64), std::byte{1});
  std::mt19937_64 random(7);
  for (u32 i = 0; i < what.entries; ++i) {
    std::fill(key.begin(), key.end(), std::byte{0});
    if (is_address(what.keys)) {
      draw_prefix(what.keys, random, key);
    } else {
      std::memcpy(key.data(), &i, 4);
    }
    if (value_bytes == 0 && i == 0) {  // per-CPU: as large as a look-up says, or what the possible CPUs need
      u32 cpus = 1;
      for (; cpus <= 4096; ++cpus)
        if (map.update(key, Bytes(cpus * sizeof(u64), std::byte{1}))) break;
      value.resize(cpus * sizeof(u64), std::byte{1});
      continue;
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
    auto measured = SKEP_TRY(engine.load(object_of(what, what.operation)));
    SKEP_TRY(fill(measured, what));
    auto empty = SKEP_TRY(engine.load(object_of(what, Operation::nothing)));
    side.programs_.push_back(SKEP_TRY(measured.program("measured")));
    side.programs_.push_back(SKEP_TRY(empty.program("measured")));
    side.objects_.push_back(std::move(measured));
    side.objects_.push_back(std::move(empty));
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
    const auto result = SKEP_TRY(programs_[index].test_run(run));
    packet_ = result.data;
    return static_cast<double>(result.duration_ns);
  }
  std::vector<Object> objects_;
  std::vector<Program> programs_;
  Bytes packet_ = Bytes(64, std::byte{3});
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

void report(Backend& user, Backend* kernel, const Case& what) {
  auto ours = Side::make(user, what);
  if (!ours) {
    fmt::print(stderr, "{}: {}\n", what.name, ours.error().message);
    return;
  }
  std::optional<Side> theirs;
  if (kernel != nullptr) {
    auto made = Side::make(*kernel, what);
    if (made)
      theirs.emplace(std::move(*made));
    else
      fmt::print(stderr, "{} in the kernel: {}\n", what.name, made.error().message);
  }
  const bool has_plain = what.keys == Keys::number;
  PlainTable table(has_plain ? what.entries : 1);
  u64 state = 11;
  std::vector<double> us, them, plain;
  for (u32 i = 0; i < rounds + 2; ++i) {  // the first two warm up: caches, and the user engine's second compiler
    const auto a = ours->round();
    const auto b = theirs ? theirs->round() : Result<double>(0.0);
    const double c = has_plain ? plain_round(table, what.entries - 1, what.operation == Operation::update, state) : 0;
    if (!a || !b) {
      fmt::print(stderr, "{}: {}\n", what.name, (a ? b : a).error().message);
      return;
    }
    if (i < 2) continue;
    us.push_back(*a);
    them.push_back(*b);
    plain.push_back(c);
  }
  const double mine = median(us), other = median(them);
  fmt::print("{:<40} {:>9.1f} {:>9} {:>9} {:>9}\n", what.name, mine, theirs ? fmt::format("{:.1f}", other) : "-",
             theirs ? fmt::format("{:.2f}", mine / other) : "-",
             has_plain ? fmt::format("{:.1f}", median(plain)) : "-");
}

}  // namespace

void beside_the_kernel(std::string_view only) {
  auto user = user_backend({.serve_control_socket = false});
  auto kernel = kernel_backend();
  if (!user) {
    fmt::print(stderr, "{}\n", user.error().message);
    return;
  }
  if (!kernel) fmt::print(stderr, "no kernel to compare with: {}\n", kernel.error().message);
  fmt::print("\n{:<40} {:>9} {:>9} {:>9} {:>9}\n", "ns per operation in a program", "user", "kernel", "ratio",
             "plain C++");
  constexpr u32 no_prealloc = 1;
  const Case cases[] = {
      {"array look-up, 8192", MapType::array, 4, 8192, 0, Keys::index, Operation::look_up},
      {"per-CPU array look-up, 8192", MapType::percpu_array, 4, 8192, 0, Keys::index, Operation::look_up},
      {"hash look-up, 4-byte key, 8192", MapType::hash, 4, 8192, 0, Keys::index, Operation::look_up},
      {"hash look-up, 8-byte key, 8192", MapType::hash, 8, 8192, 0, Keys::number, Operation::look_up},
      {"hash look-up, 8-byte key, 1048576", MapType::hash, 8, 1 << 20, 0, Keys::number, Operation::look_up},
      {"hash update, 8-byte key, 8192", MapType::hash, 8, 8192, 0, Keys::number, Operation::update},
      {"per-CPU hash look-up, 8192", MapType::percpu_hash, 8, 8192, 0, Keys::number, Operation::look_up},
      {"per-CPU hash update, 8192", MapType::percpu_hash, 8, 8192, 0, Keys::number, Operation::update},
      {"LRU hash look-up, 8192", MapType::lru_hash, 8, 8192, 0, Keys::number, Operation::look_up},
      {"LRU hash update, 8192", MapType::lru_hash, 8, 8192, 0, Keys::number, Operation::update},
      {"LPM look-up, 100000 random prefixes", MapType::lpm_trie, 8, 100000, no_prealloc, Keys::address,
       Operation::look_up},
      {"LPM look-up, 1000000 random prefixes", MapType::lpm_trie, 8, 1000000, no_prealloc, Keys::address,
       Operation::look_up},
      {"LPM look-up, 100000 routes", MapType::lpm_trie, 8, 100000, no_prealloc, Keys::routes, Operation::look_up},
      {"LPM look-up, 1000000 routes", MapType::lpm_trie, 8, 1000000, no_prealloc, Keys::routes, Operation::look_up},
      {"LPM look-up, 200000 IPv6 routes", MapType::lpm_trie, 20, 200000, no_prealloc, Keys::routes6,
       Operation::look_up},
      {"LPM look-up, 1000000 IPv6 routes", MapType::lpm_trie, 20, 1000000, no_prealloc, Keys::routes6,
       Operation::look_up},
  };
  for (const Case& each : cases)
    if (std::string_view(each.name).find(only) != std::string_view::npos)
      report(**user, kernel ? kernel->get() : nullptr, each);
}

}  // namespace skep::bench
