// See metadata.hpp. The data is an array map of one element, its type a section of variables.
#include "inspect/metadata.hpp"

#include <algorithm>
#include <skep/backend.hpp>

#include "btf/btf.hpp"
#include "btf/format_value.hpp"

namespace skep::inspect {
namespace {

constexpr std::string_view prefix = "bpf_metadata_";

bool may_hold_metadata(const MapInfo& map) {
  return map.type == MapType::array && map.key_size == sizeof(u32) && map.max_entries == 1 && map.btf_id != 0 &&
         map.btf_value_type_id != 0 && map.name.find(".rodata") != std::string::npos;
}

/// The variables of a section whose names begin with the prefix.
std::vector<Metadata> variables(const btf::Btf& types, u32 section_id, std::span<const std::byte> value) {
  std::vector<Metadata> found;
  if (section_id >= types.type_count()) return found;
  const auto section = types.type(section_id);
  if (section.kind != btf::Kind::datasec) return found;
  for (const auto& entry : types.section_vars(section)) {
    const auto variable = types.type(entry.type_id);
    if (variable.kind != btf::Kind::var || !variable.name.starts_with(prefix) || entry.offset > value.size()) continue;
    const auto bytes = value.subspan(entry.offset);
    auto json = btf::format_value(types, variable.type_id(), bytes, btf::ValueStyle::json);
    auto text = btf::format_value(types, variable.type_id(), bytes, btf::ValueStyle::plain);
    if (json && text)
      found.push_back({std::string(variable.name.substr(prefix.size())), std::move(*json), std::move(*text)});
  }
  return found;
}

}  // namespace

std::vector<Metadata> metadata_of(Inspector& where, const ProgramInfo& info, const std::vector<MapInfo>& maps) {
  for (const u32 id : info.map_ids) {
    const auto facts = std::find_if(maps.begin(), maps.end(), [&](const MapInfo& map) { return map.id == id; });
    if (facts == maps.end() || !may_hold_metadata(*facts)) continue;
    const auto types = where.btf(facts->btf_id);
    const auto map = where.map(id);
    if (!types || !map) continue;
    const u32 key = 0;
    const auto value = map->lookup(std::as_bytes(std::span(&key, 1)));
    if (!value) continue;
    if (auto found = variables(**types, facts->btf_value_type_id, *value); !found.empty()) return found;
  }
  return {};
}

}  // namespace skep::inspect
