// Maps that are not defined by types: legacy `struct bpf_map_def` records, global data, and struct_ops tables.
//
// Global data is a one-element array per section, whose value is the section's bytes; a program reaches its variables
// by address. Legacy records are the five numbers every loader agreed on; what followed them differed by loader, so
// it is told apart by the record's size: 28 bytes are the kernel samples' (inner map, NUMA node) or iproute2's (id,
// pinning), 36 are iproute2's with inner maps.
// Source: libbpf before 1.0 (struct bpf_map_def); samples/bpf/bpf_load.h;
// iproute2 include/bpf_elf.h.
#include <fmt/core.h>

#include <algorithm>

#include "spec/object_reader.hpp"

namespace skep::spec {
namespace {

constexpr std::size_t longest_map_name = 15;  // BPF_OBJ_NAME_LEN without the terminator

struct LegacyRecord {
  u32 type, key_size, value_size, max_entries, flags;
};
constexpr u64 samples_record_bytes = 28, iproute2_record_bytes = 36;

bool is_or_begins(std::string_view section, std::string_view name) {
  return section.starts_with(name) && (section.size() == name.size() || section[name.size()] == '.');
}

/// iproute2 names the inner maps' template by the id of another record.
std::optional<std::size_t> template_of(const base::ByteReader& reader, std::span<const elf::Symbol> symbols,
                                       std::size_t outer) {
  constexpr u64 id_offset = sizeof(LegacyRecord), inner_id_offset = id_offset + 8;
  const u32 wanted = *reader.at<u32>(symbols[outer].value + inner_id_offset);
  for (std::size_t i = 0; wanted != 0 && i < symbols.size(); i++)
    if (i != outer && *reader.at<u32>(symbols[i].value + id_offset) == wanted) return i;
  return std::nullopt;
}

}  // namespace

Result<void> ObjectReader::read_legacy_maps() {
  for (const auto& section : file_->sections()) {
    if (section.type != elf::section_progbits || section.size == 0) continue;
    if (section.name == "maps") SKEP_TRY_AT("section maps", read_legacy_section(section, false));
    if (section.name.starts_with("maps/"))
      SKEP_TRY_AT(fmt::format("section {}", section.name), read_legacy_section(section, true));
  }
  return {};
}

/// `one_map`: BCC and gobpf write each map into a section of its own, with fields of their own after the five numbers.
Result<void> ObjectReader::read_legacy_section(const elf::Section& section, bool one_map) {
  const auto bytes = SKEP_TRY(file_->contents(section));
  std::vector<elf::Symbol> symbols = legacy_symbols_[section.index];
  std::sort(symbols.begin(), symbols.end(), [](const auto& a, const auto& b) { return a.value < b.value; });
  if (symbols.empty()) return fail(Code::malformed, "no symbol names its maps");
  const u64 record = one_map ? bytes.size() : bytes.size() / symbols.size();
  if (record < sizeof(LegacyRecord) || (!one_map && bytes.size() % symbols.size() != 0))
    return fail(Code::malformed, fmt::format("{} bytes for {} maps; each takes at least {}", bytes.size(),
                                             symbols.size(), sizeof(LegacyRecord)));
  const base::ByteReader reader(bytes);
  const u32 first = static_cast<u32>(out_.maps.size());
  for (const auto& symbol : symbols) {
    const auto raw = symbol.value % record == 0 ? reader.at<LegacyRecord>(symbol.value) : std::nullopt;
    if (!raw || !reader.contains(symbol.value, record))
      return fail(Code::malformed, fmt::format("map {}: offset {:#x} is not a multiple of the record's {} bytes",
                                               symbols_->name(symbol), symbol.value, record));
    MapSpec map;
    map.name = one_map ? section.name.substr(5) : symbols_->name(symbol);
    map.type = static_cast<MapType>(raw->type);
    map.key_size = raw->key_size;
    map.value_size = raw->value_size;
    map.max_entries = raw->max_entries;
    map.flags = raw->flags;
    SKEP_TRY(add_map(std::move(map), {section.index, symbol.value, record}));
  }
  if (!one_map) SKEP_TRY(read_legacy_extras(reader, record, first, symbols));
  return {};
}

/// What follows the five numbers: pinning, NUMA node, and which earlier map is the template of the inner ones.
Result<void> ObjectReader::read_legacy_extras(const base::ByteReader& reader, u64 record, u32 first,
                                              std::span<const elf::Symbol> symbols) {
  constexpr u32 create_with_node = 1U << 2;  // BPF_F_NUMA_NODE
  auto holds_maps = [](const MapSpec& map) {
    return map.type == MapType::array_of_maps || map.type == MapType::hash_of_maps;
  };
  const auto maps = std::span(out_.maps).subspan(first);
  // 28 bytes are both: the samples' two words matter only to maps of maps and NUMA nodes, which iproute2 had not then.
  const bool is_samples = record == samples_record_bytes && std::any_of(maps.begin(), maps.end(), [&](const auto& map) {
                            return holds_maps(map) || (map.flags & create_with_node) != 0;
                          });
  const bool is_iproute2 = !is_samples && (record == samples_record_bytes || record == iproute2_record_bytes);
  for (std::size_t i = 0; i < symbols.size(); i++) {
    MapSpec& map = maps[i];
    const u64 extra = symbols[i].value + sizeof(LegacyRecord);
    std::optional<std::size_t> inner;
    if (is_samples) {
      if (holds_maps(map)) inner = *reader.at<u32>(extra);
      if ((map.flags & create_with_node) != 0) map.numa_node = *reader.at<u32>(extra + 4);
    } else if (is_iproute2) {
      const u32 id = *reader.at<u32>(extra);
      map.pin_by_name = *reader.at<u32>(extra + 4) != 0;
      if (map.type == MapType::prog_array && id != 0) program_arrays_.try_emplace(id, first + static_cast<u32>(i));
    }
    if (record == iproute2_record_bytes && holds_maps(map)) inner = template_of(reader, symbols, i);
    if (!inner) continue;
    if (*inner >= symbols.size() || *inner == i)
      return fail(Code::malformed,
                  fmt::format("map {}: its inner map is number {} of {}", map.name, *inner, symbols.size()));
    map.inner = std::make_shared<const MapSpec>(out_.maps[first + *inner]);
  }
  return {};
}

Result<void> ObjectReader::read_global_data() {
  for (const auto& section : file_->sections()) {
    if (section.size == 0) continue;
    const bool in_file = section.type == elf::section_progbits && !section.executable();
    const bool is_zero = section.type == elf::section_nobits;
    if (in_file && section.name == ".addr_space.1") SKEP_TRY(read_arena_data(section));
    const bool wanted = (in_file && (is_or_begins(section.name, ".data") || is_or_begins(section.name, ".rodata"))) ||
                        (is_zero && is_or_begins(section.name, ".bss"));
    if (wanted) SKEP_TRY(add_data_map(section));
  }
  return {};
}

/// libbpf's name: "object.rodata", the object's part cut so that all fits 15 characters; sections with a name of their
/// own (".rodata.strings") keep it.
std::string ObjectReader::data_map_name(std::string_view section) const {
  std::string name;
  if (section.find('.', 1) != std::string_view::npos) {
    name = section;
  } else {
    const std::size_t suffix = std::max<std::size_t>(7, section.size());
    name = out_.name.substr(0, longest_map_name - std::min(suffix, longest_map_name));
    name += section;
  }
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '_' && c != '.') c = '_';
  return name;
}

Result<void> ObjectReader::add_data_map(const elf::Section& section) {
  SKEP_TRY(take_data_bytes(section.size, section.name));
  MapSpec map;
  map.name = data_map_name(section.name);
  map.type = MapType::array;
  map.key_size = 4;
  map.value_size = static_cast<u32>(section.size);
  map.max_entries = 1;
  map.is_global_data = true;
  map.frozen = is_or_begins(section.name, ".rodata");
  if (map.frozen) map.flags |= map_flag::rdonly_prog;
  const auto bytes = SKEP_TRY(file_->contents(section));
  map.initial_value.assign(bytes.begin(), bytes.end());
  map.initial_value.resize(section.size);  // .bss: zeroes
  // Types describe one section of a name: many with long lists of variables would otherwise be looked through again.
  const bool is_described = btf_ && is_first_of_its_name(section);
  if (const auto datasec = is_described ? btf_->find(section.name, btf::Kind::datasec) : std::nullopt) {
    map.btf_value_type_id = *datasec;
    // The whole section can be mapped into a process when it has a variable that others may name.
    const auto vars = btf_->section_vars(btf_->type(*datasec));
    const bool visible = std::any_of(vars.begin(), vars.end(), [&](const btf::SecVar& entry) {
      const auto variable = btf_->type(entry.type_id);
      const auto symbol = named_symbols_.find({section.index, variable.name});
      const bool hidden =
          symbol != named_symbols_.end() && symbols_->at(symbol->second).visibility != elf::visibility_default;
      return variable.kind == btf::Kind::var && btf_->linkage(variable) != 0 && !hidden;
    });
    if (visible) map.flags |= map_flag::mmapable;
  }
  return add_map(std::move(map), {section.index, 0, section.size});
}

/// Variables of address space 1 live in the object's arena map.
Result<void> ObjectReader::read_arena_data(const elf::Section& section) {
  const auto arena =
      std::find_if(out_.maps.begin(), out_.maps.end(), [](const auto& m) { return m.type == MapType::arena; });
  if (arena == out_.maps.end())
    return fail(Code::malformed, "section .addr_space.1: global variables of an arena, but no map of type arena");
  SKEP_TRY(take_data_bytes(section.size, section.name));
  const auto bytes = SKEP_TRY(file_->contents(section));
  arena->initial_value.assign(bytes.begin(), bytes.end());
  map_places_.push_back({section.index, 0, section.size, static_cast<u32>(arena - out_.maps.begin())});
  return {};
}

Result<void> ObjectReader::read_struct_ops() {
  for (const auto& section : file_->sections()) {
    if (section.type != elf::section_progbits || section.size == 0) continue;
    std::string_view name = section.name;
    if (name.starts_with('?')) name.remove_prefix(1);
    if (name == ".struct_ops") SKEP_TRY_AT(section.name, read_struct_ops_section(section, 0));
    if (name == ".struct_ops.link") SKEP_TRY_AT(section.name, read_struct_ops_section(section, map_flag::link));
  }
  return {};
}

/// Each variable is a kernel structure of function pointers; its programs are slots by byte offset.
Result<void> ObjectReader::read_struct_ops_section(const elf::Section& section, u32 flags) {
  if (!is_first_of_its_name(section)) return fail(Code::malformed, "there is another section of this name");
  const auto datasec = btf_ ? btf_->find(section.name, btf::Kind::datasec) : std::nullopt;
  if (!datasec) return fail(Code::malformed, "no .BTF DATASEC describes it");
  const auto bytes = SKEP_TRY(file_->contents(section));
  for (const auto& entry : btf_->section_vars(btf_->type(*datasec))) {
    const auto variable = btf_->type(entry.type_id);
    const auto symbol = named_symbols_.find({section.index, variable.name});
    if (variable.kind != btf::Kind::var || symbol == named_symbols_.end())
      return fail(Code::malformed, fmt::format("variable '{}' has no symbol", variable.name));
    const auto type = btf_->type(btf_->resolve(variable.type_id()));
    const auto where = symbols_->at(symbol->second);
    const auto value = base::ByteReader(bytes).slice(where.value, type.size());
    if (type.kind != btf::Kind::struct_ || !value)
      return fail(Code::malformed, fmt::format("variable '{}': expected a struct within the section", variable.name));
    SKEP_TRY(take_data_bytes(value->size(), section.name));
    MapSpec map;
    map.name = variable.name;
    map.type = MapType::struct_ops;
    map.key_size = 4;
    map.value_size = type.size();
    map.max_entries = 1;
    map.flags = flags;
    map.btf_value_type_id = type.id;
    map.initial_value.assign(value->begin(), value->end());
    map.autocreate = !section.name.starts_with('?');
    SKEP_TRY(add_map(std::move(map), {section.index, where.value, std::max<u64>(value->size(), 1)}));
  }
  return {};
}

/// The map whose place holds that byte. Places are sorted, those of one section do not overlap in sane objects.
const ObjectReader::MapPlace* ObjectReader::map_at(u32 section, u64 offset) const {
  const auto after = std::upper_bound(map_places_.begin(), map_places_.end(), std::pair(section, offset),
                                      [](const std::pair<u32, u64>& key, const MapPlace& place) {
                                        return key < std::pair(place.section, place.offset);
                                      });
  if (after == map_places_.begin()) return nullptr;
  const auto& place = *std::prev(after);
  return place.section == section && offset - place.offset < place.size ? &place : nullptr;
}

}  // namespace skep::spec
