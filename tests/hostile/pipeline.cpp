// See pipeline.hpp. Maps larger than a few megabytes are not made: a mutated max_entries would only test
// how fast this machine can fault in pages.
#include "pipeline.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "helper/call.hpp"
#include "helper/helpers.hpp"
#include "helper/local_task.hpp"
#include "map/map.hpp"
#include "user/prepare.hpp"
#include "verify/verify.hpp"
#include "vm/function.hpp"

namespace skep::hostile {
namespace {

constexpr u64 largest_map_bytes = 4u << 20;
constexpr u32 most_insns_verified = 20'000;
constexpr u64 most_insns_run = 200'000;

/// Memory that the running program was given.
class Watch : public vm::MemoryGuard {
 public:
  void grant(u64 address, u64 size) {
    if (address != 0) ranges_.push_back({address, size});
  }
  bool allows(u64 address, u32 size, bool) noexcept override {
    return std::any_of(ranges_.begin(), ranges_.end(), [&](const Range& range) {
      return address >= range.begin && size <= range.size && address - range.begin <= range.size - size;
    });
  }

 private:
  struct Range {
    u64 begin, size;
  };
  std::vector<Range> ranges_;
};

/// What the helpers below need: a Call that also knows the watch.
struct WatchedCall : helper::Call {
  Watch* watch = nullptr;
};

constexpr u32 map_lookup_elem = 1, probe_write_user = 36, ringbuf_reserve = 131, map_lookup_percpu_elem = 195;

/// The engine's helpers, those that hand out memory telling the watch.
u64 watched_lookup(void* call, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5) noexcept {
  const u64 value = helper::table()[map_lookup_elem](call, a1, a2, a3, a4, a5);
  const auto& map = *reinterpret_cast<map::Map*>(a1);
  static_cast<WatchedCall*>(call)->watch->grant(value, map.spec().value_size);
  return value;
}
u64 watched_percpu_lookup(void* call, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5) noexcept {
  const u64 value = helper::table()[map_lookup_percpu_elem](call, a1, a2, a3, a4, a5);
  const auto& map = *reinterpret_cast<map::Map*>(a1);
  static_cast<WatchedCall*>(call)->watch->grant(value, map.spec().value_size);
  return value;
}
u64 watched_reserve(void* call, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5) noexcept {
  const u64 record = helper::table()[ringbuf_reserve](call, a1, a2, a3, a4, a5);
  static_cast<WatchedCall*>(call)->watch->grant(record, a2);
  return record;
}
/// A mutated program must not write into this very process.
u64 refused_write(void*, u64, u64, u64, u64, u64) noexcept { return static_cast<u64>(-EPERM); }

std::vector<helper::HelperFn> watched_helpers() {
  std::vector<helper::HelperFn> table(helper::table().begin(), helper::table().end());
  const auto replace = [&](u32 id, helper::HelperFn function) {
    if (id < table.size() && table[id] != nullptr) table[id] = function;
  };
  replace(map_lookup_elem, watched_lookup);
  replace(map_lookup_percpu_elem, watched_percpu_lookup);
  replace(ringbuf_reserve, watched_reserve);
  replace(probe_write_user, refused_write);
  return table;
}

/// The object's maps, or none when one of them is refused or too large.
std::vector<std::shared_ptr<map::Map>> make_maps(const ObjectSpec& spec) {
  std::vector<std::shared_ptr<map::Map>> maps;
  for (const auto& map : spec.maps) {
    const u64 bytes = u64{map.max_entries} * (u64{map.key_size} + map.value_size + 64);
    if (bytes > largest_map_bytes || !map.slots.empty()) return {};
    auto made = map::Map::create(map);
    if (!made) return {};
    maps.push_back(std::move(*made));
  }
  return maps;
}

void run_program(const verify::VerifiedProgram& program, const std::vector<std::shared_ptr<map::Map>>& maps,
                 Outcome& outcome) {
  static const std::vector<helper::HelperFn> helpers = watched_helpers();
  vm::Bindings bindings{.helpers = helpers};
  Watch watch;
  for (const auto& map : maps) {
    bindings.maps.push_back(reinterpret_cast<u64>(map.get()));
    bindings.map_values.push_back(reinterpret_cast<u64>(map->direct_value()));
    watch.grant(bindings.map_values.back(), map->spec().value_size);
  }
  const auto function = vm::Function::link(program, bindings);
  if (!function) return;
  std::vector<u8> context(std::max<u32>(program.context_bytes(), 1));
  watch.grant(reinterpret_cast<u64>(context.data()), program.context_bytes());
  helper::LocalTask task;
  WatchedCall call;
  call.task = &task;
  call.context = context.data();
  call.watch = &watch;
  const auto result = (*function)->run_checked(call, context.data(), watch, most_insns_run);
  ++outcome.ran;
  if (!result && result.error().code != Code::limit)
    outcome.violation = fmt::format("{}: {}", program.name(), result.error().message);
}

/// Types whose context is plain memory; packets need an engine around them.
bool has_plain_context(ProgramType type) {
  return type == ProgramType::kprobe || type == ProgramType::tracepoint || type == ProgramType::raw_tracepoint ||
         type == ProgramType::perf_event;
}

}  // namespace

Outcome run_pipeline(std::span<const std::byte> object) {
  Outcome outcome;
  const auto spec = ObjectSpec::from_bytes(object, "hostile");
  if (!spec) return outcome;
  outcome.read = true;
  const auto prepared = user::prepare(*spec);
  if (!prepared) return outcome;
  outcome.prepared = true;
  const auto maps = make_maps(*prepared);
  verify::Options options;
  options.max_insns_processed = most_insns_verified;
  for (const auto& program : prepared->programs) {
    const auto verdict = verify::verify(program, *prepared, options);
    if (!verdict) continue;
    if (!verdict->program) {
      verify::explain(verdict->report, program);  // explaining reads the same hostile types and lines
      continue;
    }
    ++outcome.verified;
    if (maps.size() == prepared->maps.size() && has_plain_context(program.type))
      run_program(*verdict->program, maps, outcome);
  }
  return outcome;
}

}  // namespace skep::hostile
