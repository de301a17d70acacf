// See runner.hpp.
#include "runner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "helper/kfuncs.hpp"
#include "helper/load_packet.hpp"
#include "map/slots.hpp"
#include "spec/special_fields.hpp"
#include "user/prepare.hpp"
#include "user/test_run.hpp"

namespace skep::embedding {
namespace {

constexpr u64 largest_map_bytes = 1u << 20, most_state_bytes = 64u << 20, most_insns_watched = 4'000,
              most_insns_followed = u64{1} << 22;
constexpr u32 most_insns_verified = 6'000, most_insns_of_some = 20'000, most_values = 64;

bool is_array(MapType type) { return type == MapType::array || type == MapType::percpu_array; }
bool is_hash(MapType type) {
  return type == MapType::hash || type == MapType::percpu_hash || type == MapType::lru_hash ||
         type == MapType::lru_percpu_hash;
}

std::byte any_byte(Random& random) {
  const u64 n = random();
  return static_cast<std::byte>(n % 4 == 0 ? 0 : n % 4 == 1 ? 0xff : n >> 8);
}
void fill(std::span<std::byte> bytes, Random& random) {
  for (std::byte& b : bytes) b = any_byte(random);
}

/// The same contents for the same seed, whatever ran before.
void reset(map::Map& map, Random& random) {
  const MapSpec& spec = map.spec();
  if (map.frozen()) return;
  if (map.direct_value() != nullptr) {
    if (!spec.frozen) fill({static_cast<std::byte*>(map.direct_value()), spec.value_size}, random);
    return;
  }
  std::vector<std::byte> key(spec.key_size), value(map.host_value_size());
  if (spec.type == MapType::queue || spec.type == MapType::stack) {
    while (map.pop(value.data()) == 0) {
    }
  } else if (is_array(spec.type)) {
    for (u32 k = 0; k < std::min(spec.max_entries, 4u); k++) {
      std::memcpy(key.data(), &k, sizeof k);
      fill(value, random);
      map.copy_update(key.data(), value.data(), 0);
    }
  } else if (is_hash(spec.type)) {
    while (map.next_key(nullptr, key.data()) == 0 && map.erase(key.data()) == 0) {
    }
    for (u32 k = 0; k < 2; k++) {
      std::fill(key.begin(), key.end(), std::byte{0});
      if (!key.empty()) key[0] = static_cast<std::byte>(k);
      fill(value, random);
      map.copy_update(key.data(), value.data(), 0);
    }
  }
}

/// Where values of arrays begin; of other maps nothing is said.
class MapWorld final : public World {
 public:
  explicit MapWorld(std::span<const std::shared_ptr<map::Map>> maps) {
    for (const auto& map : maps) {
      std::vector<u64>& begins = begins_.emplace_back();
      if (map->direct_value() != nullptr) {
        begins.push_back(reinterpret_cast<u64>(map->direct_value()));
      } else if (is_array(map->spec().type) && map->spec().max_entries <= most_values && !map->is_per_cpu()) {
        for (u32 k = 0; k < map->spec().max_entries; k++) begins.push_back(reinterpret_cast<u64>(map->lookup(&k)));
      }
    }
  }
  std::optional<bool> value_begins_at(u32 index, u64 address) const override {
    if (index >= begins_.size() || begins_[index].empty()) return std::nullopt;
    return std::find(begins_[index].begin(), begins_[index].end(), address) != begins_[index].end();
  }

 private:
  std::vector<std::vector<u64>> begins_;
};

/// Locks and other fields that only helpers touch begin as zeroes: nobody holds them.
void free_locks(map::Map& map, const ObjectSpec& object) {
  const MapSpec& spec = map.spec();
  if (map.direct_value() == nullptr || object.btf == nullptr || spec.btf_value_type_id == 0) return;
  for (const spec::SpecialField& field : spec::special_fields(*object.btf, spec.btf_value_type_id, spec.value_size))
    std::memset(static_cast<std::byte*>(map.direct_value()) + field.offset, 0, field.size);
}

const vm::Function* tail_target(u64 map, u32 index) noexcept {
  return static_cast<const vm::Function*>(map::prog_array_target(*reinterpret_cast<map::Map*>(map), index));
}

bool is_stopped(const Result<TestRunResult>& result) { return !result && result.error().code == Code::limit; }

bool has_packet(ProgramType type) {
  return type == ProgramType::xdp || type == ProgramType::sched_cls || type == ProgramType::sched_act ||
         type == ProgramType::socket_filter;
}

/// A packet of some protocol, its headers plausible enough for real programs to walk into them.
std::vector<std::byte> packet(Random& random) {
  std::vector<std::byte> bytes(54 + random() % 80);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random() >> (random() % 8));
  const auto put = [&](std::size_t at, std::initializer_list<int> values) {
    for (const int v : values) bytes[at++] = static_cast<std::byte>(v);
  };
  switch (random() % 3) {
    case 0:
      put(12, {0x08, 0x00, 0x45, 0});
      put(23, {random() % 2 != 0 ? 6 : 17});
      break;
    case 1:
      put(12, {0x86, 0xdd, 0x60});
      put(20, {random() % 2 != 0 ? 6 : 58});
      break;
    default:
      put(12, {0x88, 0xb5});
      bytes.resize(14 + random() % 100);
      break;
  }
  return bytes;
}

TestRun input_of(const verify::VerifiedProgram& program, Random& random) {
  TestRun input;
  if (has_packet(program.type())) {
    input.data = packet(random);
    return input;
  }
  input.context.resize(std::max<u32>(program.context_bytes(), 64));
  const u64 kind = random() % 4;
  for (std::byte& b : input.context)
    b = kind == 0 ? std::byte{0} : kind == 1 ? std::byte{0xff} : static_cast<std::byte>(random() >> (random() % 8));
  return input;
}

}  // namespace

const Runner::Maps& Runner::maps_of(const ObjectSpec& object) {
  constexpr std::size_t most_objects = 64;
  const auto known = maps_.find(&object);
  if (known != maps_.end()) return known->second;
  if (maps_.size() >= most_objects) maps_.clear();
  Maps& maps = maps_[&object];
  for (const MapSpec& spec : object.maps) {
    const u64 bytes = u64{spec.max_entries} * (u64{spec.key_size} + spec.value_size + 64);
    auto made = bytes > largest_map_bytes || !spec.slots.empty() ? fail(Code::limit, "") : map::Map::create(spec);
    if (!made) return maps.clear(), maps;
    maps.push_back(std::move(*made));
  }
  return maps;
}

Outcome Runner::judge(const ObjectSpec& object, const ProgramSpec& program, const How& how, u64 seed, u32 inputs) {
  Outcome outcome;
  embedding_.forget();
  verify::Options options = user::engine_rules();
  options.rules = how.rules;
  options.remember_often = how.often;
  if (how.at_once) options.insns_before_joining = 0;
  // Few programs that are accepted at all need more; those that are refused would cost most of the time.
  options.max_insns_processed = seed / 64 % 8 == 0 ? most_insns_of_some : most_insns_verified;
  options.max_state_bytes = most_state_bytes;
  options.observer = &embedding_;
  auto verdict = verify::verify(program, object, options);
  if (!verdict) {
    outcome.refused = "error";
  } else if (!verdict->program) {
    outcome.refused = verdict->report.rejection->id;
  } else {
    outcome.accepted = true;
    outcome.joined = verdict->report.joined;
    run(*verdict->program, object, seed, inputs, outcome);
    outcome.looks = embedding_.looks();
  }
  return outcome;
}

void Runner::run(const verify::VerifiedProgram& program, const ObjectSpec& object, u64 seed, u32 inputs,
                 Outcome& outcome) {
  const Maps& maps = maps_of(object);
  if (maps.size() != object.maps.size()) return;
  vm::Bindings bindings;
  bindings.helpers = hostile::watched_helpers();
  bindings.tail_target = tail_target;
  bindings.load_packet = helper::load_packet;
  bindings.kfunc = [type = program.type()](std::string_view name) { return helper::kfunc_for(name, type); };
  for (const auto& map : maps) {
    bindings.maps.push_back(reinterpret_cast<u64>(map.get()));
    bindings.map_values.push_back(reinterpret_cast<u64>(map->direct_value()));
  }
  const auto function = vm::Function::link(program, bindings, {.tier = vm::Tier::interpreter});
  if (!function) return;  // something that only another engine has
  const bool calls_tails = std::ranges::find(program.helpers(), isa::helper_tail_call) != program.helpers().end();
  const std::optional<u64> longest_run = embedding_.longest_run();
  const u64 runs_in_a_row = calls_tails ? isa::max_tail_calls + 1 : 1;
  const u64 promised =
      longest_run && *longest_run <= most_insns_followed / runs_in_a_row ? *longest_run * runs_in_a_row : ~u64{0};
  Random random(seed);
  const auto run_once = [&](u64 most_insns, bool is_watched) {
    hostile::Watch watch;
    watch.grant_direct_values(maps);
    for (const auto& map : maps) {
      reset(*map, random);
      free_locks(*map, object);
      if (map->spec().type == MapType::prog_array) map::prog_array_set(*map, 0, *function, 1);
    }
    const MapWorld world(maps);
    embedding_.begin(program, &(*function)->bytecode(), &world);
    WatchingGuard guard(embedding_, &watch);
    const user::Checks checks{is_watched ? static_cast<vm::MemoryGuard*>(&guard) : &watch, most_insns};
    return user::test_run(**function, input_of(program, random), nullptr, &checks);
  };
  for (u32 i = 0; i < inputs && outcome.violation.empty(); i++) {
    const Random before = random;
    auto result = run_once(std::min(most_insns_watched, promised), true);
    if (is_stopped(result) && promised != ~u64{0}) {  // else there is nothing that a longer run could break
      random = before;
      result = run_once(std::min(most_insns_followed, promised), false);
      outcome.followed += result.has_value();
    }
    if (is_stopped(result)) {
      outcome.too_long++;
      if (promised != ~u64{0})
        outcome.violation =
            fmt::format("input {}: still runs after {} instructions, as many as were promised", i, promised);
    }
    outcome.runs += result.has_value();
    if (!result && result.error().code == Code::malformed)
      outcome.violation = fmt::format("input {}: {}", i, result.error().message);
  }
  for (const auto& map : maps)
    if (map->spec().type == MapType::prog_array) map::prog_array_clear(*map);
}

}  // namespace skep::embedding
