// Bytes that a full map takes for each entry: ours as the system counts its pages, the kernel's as it accounts them.
#include <fmt/format.h>

#include <vector>

#include "base/cpus.hpp"
#include "maps/parts.hpp"
#include "maps/programs.hpp"

namespace skep::bench {
namespace {

constexpr u32 entries = 65536;

struct Row {
  const char* name;
  MapType type;
  u32 key_size, value_size, flags;
};

/// A map of the engine with every entry in, by its id.
Result<double> bytes_per_entry(Backend& engine, const Row& row) {
  MapSpec map;
  map.type = row.type;
  map.key_size = row.key_size;
  map.value_size = row.value_size;
  map.max_entries = entries;
  map.flags = row.flags;
  const Object object = SKEP_TRY(engine.load(object_of(map, Keys::index, entries - 1, {Operation::nothing})));
  const Map table = SKEP_TRY(object.map("table"));
  const bool per_cpu = row.type == MapType::percpu_hash;
  std::vector<std::byte> key(row.key_size),
      value(per_cpu ? (row.value_size + 7) / 8 * 8 * base::possible_cpus() : row.value_size, std::byte{1});
  for (u32 i = 0; i < entries; ++i) {
    __builtin_memcpy(key.data(), &i, sizeof i);
    SKEP_TRY(table.update(key, value));
  }
  for (const MapInfo& info : SKEP_TRY(engine.inspector().maps()))
    if (info.id == table.info().id) return static_cast<double>(info.bytes_memlock) / entries;
  return fail(Code::not_found, "the engine does not list its map");
}

}  // namespace

void memory(Session& session) {
  if (!session.wants("memory")) return;
  constexpr u32 no_prealloc = 1;
  constexpr Row rows[] = {{"array, 8-byte values", MapType::array, 4, 8, 0},
                          {"hash, 8-byte keys and values", MapType::hash, 8, 8, 0},
                          {"hash, 8-byte keys and values, no prealloc", MapType::hash, 8, 8, no_prealloc},
                          {"hash, 16-byte keys, 64-byte values", MapType::hash, 16, 64, 0},
                          {"per-CPU hash, 8-byte keys and values", MapType::percpu_hash, 8, 8, 0},
                          {"LRU hash, 8-byte keys and values", MapType::lru_hash, 8, 8, 0}};
  fmt::print(session.out, "\n{:<46} {:>9} {:>9} {:>9}\n", "bytes for each of 65536 entries", "user", "kernel", "ratio");
  for (const Row& row : rows) {
    const auto ours = bytes_per_entry(*session.user, row);
    const auto theirs = session.kernel != nullptr ? bytes_per_entry(*session.kernel, row) : Result<double>(0.0);
    const std::string figure = fmt::format("memory of {} / kernel", row.name);
    if (!ours || !theirs) {
      fmt::print(stderr, "{}: {}\n", row.name, (ours ? theirs : ours).error().message);
      continue;
    }
    session.compare(figure, *ours, *theirs);
    fmt::print(session.out, "{:<46} {:>9.1f} {:>9} {:>9}\n", row.name, *ours,
               session.kernel != nullptr ? fmt::format("{:.1f}", *theirs) : "-",
               session.kernel != nullptr ? fmt::format("{:.2f}", *ours / *theirs) : "-");
  }
}

}  // namespace skep::bench
