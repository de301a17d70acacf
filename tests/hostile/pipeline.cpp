// See pipeline.hpp. Maps larger than a few megabytes are not made: a mutated max_entries would only test
// how fast this machine can fault in pages.
#include "pipeline.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "helper/local_task.hpp"
#include "user/prepare.hpp"
#include "verify/verify.hpp"
#include "watch.hpp"

namespace skep::hostile {
namespace {

constexpr u64 largest_map_bytes = 4u << 20;
constexpr u32 most_insns_verified = 20'000;
constexpr u64 most_insns_run = 200'000;

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
  vm::Bindings bindings{.helpers = watched_helpers()};
  Watch watch;
  watch.grant_direct_values(maps);
  for (const auto& map : maps) {
    bindings.maps.push_back(reinterpret_cast<u64>(map.get()));
    bindings.map_values.push_back(reinterpret_cast<u64>(map->direct_value()));
  }
  const auto function = vm::Function::link(program, bindings);
  if (!function) return;
  std::vector<u8> context(std::max<u32>(program.context_bytes(), 1));
  watch.grant(reinterpret_cast<u64>(context.data()), program.context_bytes());
  helper::LocalTask task;
  helper::Call call;
  call.task = &task;
  call.context = context.data();
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
