// Random programs in the engine of this process. See engines.hpp.
#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cstring>

#include "engines.hpp"
#include "helper/helpers.hpp"
#include "helper/load_packet.hpp"
#include "map/map.hpp"
#include "map/slots.hpp"
#include "user/prepare.hpp"
#include "user/test_run.hpp"
#include "vm/bytecode.hpp"
#include "vm/jit/build.hpp"
#include "vm/jit/passes.hpp"
#include "vm/jit/tiering.hpp"

namespace skep::differential {
namespace {

constexpr u64 insn_budget = 3'000'000;

const vm::Function* tail_target(u64 map, u32 index) noexcept {
  return static_cast<const vm::Function*>(map::prog_array_target(*reinterpret_cast<map::Map*>(map), index));
}

/// The maps, and how they begin and end a run.
class Maps final : public vm::MemoryGuard {
 public:
  Maps() {
    for (const MapSpec& spec : map_specs()) maps_.push_back(std::move(map::Map::create(spec).value()));
  }
  map::Map& at(u32 index) { return *maps_[index]; }

  bool allows(u64 address, u32 size, bool) noexcept override {
    for (const auto& map : maps_)
      if (holds(*map, address, size)) return true;
    return false;
  }

  void reset(u32 uses, u32 input) {
    for (u32 i = 0; i < map_count; i++)
      if ((uses >> i & 1) != 0) reset_one(i, input);
  }

  std::vector<std::byte> snapshot(u32 uses) {
    std::vector<std::byte> out;
    for (u32 i = 0; i < map_count; i++)
      if ((uses >> i & 1) != 0) snapshot_one(i, out);
    return out;
  }

 private:
  static bool holds(map::Map& map, u64 address, u32 size) noexcept {
    const auto inside = [&](const void* begin) {
      const u64 offset = address - reinterpret_cast<u64>(begin);
      return begin != nullptr && offset <= map.spec().value_size && size <= map.spec().value_size - offset;
    };
    if (map.direct_value() != nullptr) return inside(map.direct_value());
    std::byte key[8], next[8];
    const std::byte* previous = nullptr;
    while (map.spec().type != MapType::prog_array && map.next_key(previous, next) == 0) {
      if (inside(map.lookup(next))) return true;
      std::memcpy(key, next, sizeof key);
      previous = key;
    }
    return false;
  }

  void reset_one(u32 index, u32 input) {
    map::Map& map = at(index);
    const u32 size = map.spec().value_size;
    if (index == prog_array) return;
    if (index == data) {
      auto* bytes = static_cast<std::byte*>(map.direct_value());
      for (u32 i = 0; i < size; i++) bytes[i] = initial_byte(index, 0, i, input);
      return;
    }
    if (index == queue || index == stack) {
      std::byte value[value_bytes];
      while (map.pop(value) == 0) {
      }
      return;
    }
    const bool is_array = index == array || index == percpu_array;
    std::byte key[8] = {};
    while (!is_array && map.next_key(nullptr, key) == 0) map.erase(key);
    for (u32 k = 0; k < keys; k++) {
      if (!is_array && k >= 2) break;  // hashes begin with two elements
      std::memset(key, 0, sizeof key);
      const u32 prefix = 32;
      std::memcpy(key, index == lpm ? &prefix : &k, sizeof k);
      if (index == lpm) std::memcpy(key + 4, &k, sizeof k);
      std::vector<std::byte> value(map.host_value_size());
      for (u32 i = 0; i < value.size(); i++) value[i] = initial_byte(index, k, i % size, input);
      map.copy_update(key, value.data(), 0);
    }
  }

  void snapshot_one(u32 index, std::vector<std::byte>& out) {
    map::Map& map = at(index);
    if (index == prog_array) return;
    std::vector<std::byte> value(map.host_value_size());
    if (index == queue || index == stack) {
      while (map.pop(value.data()) == 0) out.insert(out.end(), value.begin(), value.end());
      return;
    }
    std::vector<std::array<std::byte, 8>> found;
    std::array<std::byte, 8> key{}, next{};
    for (const std::byte* previous = nullptr; map.next_key(previous, next.data()) == 0; previous = key.data()) {
      found.push_back(next);
      key = next;
      next = {};
    }
    std::sort(found.begin(), found.end());
    for (const auto& k : found) {
      if (map.copy_lookup(k.data(), value.data()) != 0) continue;
      out.insert(out.end(), k.begin(), k.end());
      out.insert(out.end(), value.begin(), value.end());
    }
  }

  std::vector<std::shared_ptr<map::Map>> maps_;
};

}  // namespace

struct UserEngines::Parts {
  Maps maps;
  std::shared_ptr<vm::Jit> jit = vm::Jit::create({.code_memory = vm::way_of_tests});
  vm::Bindings bindings;
  RandomProgram program;
  std::optional<verify::VerifiedProgram> verified;
  std::shared_ptr<const vm::Function> interpreter, baseline, optimised;

  const std::shared_ptr<const vm::Function>& tier(std::string_view name) const {
    return name == "baseline" ? baseline : name == "optimised" ? optimised : interpreter;
  }
  void forget() {
    map::prog_array_clear(maps.at(prog_array));
    interpreter = baseline = optimised = nullptr;
    verified.reset();
  }
  /// Tail calls go to the program itself, in the tier that is running.
  void begin(const std::shared_ptr<const vm::Function>& function, u32 input) {
    if ((program.uses >> prog_array & 1) != 0) map::prog_array_set(maps.at(prog_array), 0, function, 1);
    maps.reset(program.uses, input);
  }
  Observed end(TestRunResult&& result) {
    Observed observed;
    observed.r0 = result.result;
    observed.memory = maps.snapshot(program.uses);
    if (program.has_packet())
      observed.packet = std::move(result.data);
    else if (program.type == ProgramType::syscall)
      observed.context = std::move(result.context);
    return observed;
  }
  TestRun input_of() const {
    TestRun run;
    run.data = program.packet;
    run.context = program.context;
    return run;
  }
};

UserEngines::UserEngines() : parts_(std::make_unique<Parts>()) {
  auto& bindings = parts_->bindings;
  for (u32 i = 0; i < map_count; i++) {
    bindings.maps.push_back(reinterpret_cast<u64>(&parts_->maps.at(i)));
    bindings.map_values.push_back(reinterpret_cast<u64>(parts_->maps.at(i).direct_value()));
    bindings.map_views.push_back(parts_->maps.at(i).inline_view());
  }
  bindings.helpers = helper::table();
  bindings.tail_target = tail_target;
  bindings.load_packet = helper::load_packet;
}
UserEngines::~UserEngines() { parts_->forget(); }

Result<verify::Report> UserEngines::load(const RandomProgram& program) {
  parts_->forget();
  parts_->program = program;
  verify::Options options = user::engine_rules();
  options.rules = verify::Rules::kernel;
  const ObjectSpec object = object_of(program);
  auto outcome = SKEP_TRY(verify::verify(object.programs.front(), object, options));
  parts_->verified = std::move(outcome.program);
  return outcome.report;
}

Result<std::vector<const char*>> UserEngines::link() {
  std::vector<const char*> tiers;
  const auto make = [&](vm::Tier tier, std::shared_ptr<const vm::Function>& to) -> Result<void> {
    to = SKEP_TRY(vm::Function::link(*parts_->verified, parts_->bindings, {.tier = tier, .jit = parts_->jit}));
    return {};
  };
  SKEP_TRY(make(vm::Tier::interpreter, parts_->interpreter));
  tiers.push_back("interpreter");
  if (vm::jit::has_baseline) {
    SKEP_TRY_AT("baseline", make(vm::Tier::baseline, parts_->baseline));
    tiers.push_back("baseline");
  }
  SKEP_TRY_AT("optimised", make(vm::Tier::optimised, parts_->optimised));
  tiers.push_back("optimised");
  return tiers;
}

Result<Observed> UserEngines::run_checked(u32 input) {
  parts_->begin(parts_->interpreter, input);
  const user::Checks checks{&parts_->maps, insn_budget};
  return parts_->end(SKEP_TRY(user::test_run(*parts_->interpreter, parts_->input_of(), nullptr, &checks)));
}

[[gnu::noinline]] Result<Observed> UserEngines::run(const char* tier, u32 input, std::size_t deeper) {
  auto* padding = static_cast<volatile std::byte*>(__builtin_alloca(deeper));
  padding[0] = std::byte{};
  const std::vector<std::byte> moved(deeper);
  const auto& function = parts_->tier(tier);
  parts_->begin(function, input);
  return parts_->end(SKEP_TRY(user::test_run(*function, parts_->input_of(), nullptr)));
}

bool UserEngines::reads_untouched_stack() const { return parts_->verified->reads_untouched_stack(); }

u64 UserEngines::ir_operations() const {
  // Runtime functions are only named, never called, here.
  const vm::HelperFn nothing = [](void*, u64, u64, u64, u64, u64) noexcept -> u64 { return 0; };
  auto built = vm::jit::build(parts_->interpreter->bytecode(), {nothing, nothing, nothing}, {});
  u64 bits = 0;
  auto& functions = built.module.functions;

  const auto take = [&] {
    for (const auto& function : functions)
      for (const auto& block : function.blocks)
        for (const auto value : block.insns) bits |= u64{1} << static_cast<u32>(function.insns[value].op);
  };
  take();
  for (auto& function : functions) vm::ir::optimise(function, {.popcount = true, .leading_zeros = true});
  take();
  return bits;
}

std::byte initial_byte(u32 map, u32 key, u32 at, u32 input) {
  if (input == 0) return std::byte{0};
  if (input == 1) return std::byte{0xff};
  u64 x = (u64{input} << 32 | map << 24 | key << 16 | at) * 0x9e3779b97f4a7c15u;
  x ^= x >> 29;
  return static_cast<std::byte>(x * 0xbf58476d1ce4e5b9u >> 56);
}

std::string difference(const RandomProgram&, const Observed& a, const Observed& b, bool half) {
  if (half ? static_cast<u32>(a.r0) != static_cast<u32>(b.r0) : a.r0 != b.r0)
    return fmt::format("r0 is {:#x} and {:#x}", a.r0, b.r0);
  const auto compare = [](std::string_view what, const auto& x, const auto& y) -> std::string {
    if (x.size() != y.size()) return fmt::format("{} has {} and {} bytes", what, x.size(), y.size());
    for (std::size_t i = 0; i < x.size(); i++)
      if (x[i] != y[i])
        return fmt::format("{} byte {} is {:#04x} and {:#04x}", what, i, static_cast<unsigned>(x[i]),
                           static_cast<unsigned>(y[i]));
    return "";
  };
  if (auto text = compare("map memory", a.memory, b.memory); !text.empty()) return text;
  if (auto text = compare("packet", a.packet, b.packet); !text.empty()) return text;
  return compare("context", a.context, b.context);
}

}  // namespace skep::differential
