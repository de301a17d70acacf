// Maps defined by types: each variable of section ".maps" is a struct whose members spell the definition.
//
// libbpf's macros encode a number N as the type "pointer to an array of N ints" and a type T as "pointer to T"; a
// flexible last member `values` holds the template of inner maps, or the programs of a program array, and its static
// contents are relocations. 64-bit numbers (map_extra) may be an enumeration of one value.
// Source: libbpf's __uint, __type, __array, __ulong (bpf_helpers.h).
#include <fmt/core.h>

#include <algorithm>

#include "base/sort_by.hpp"
#include "spec/object_reader.hpp"

namespace skep::spec {
namespace {

constexpr std::string_view maps_section = ".maps";
constexpr std::string_view bcc_prefix = "skep_map_";
// LIBBPF_PIN_BY_NAME; Cilium's loader adds 16: pinned by name, and replaced at load.
constexpr u32 pin_by_name = 1, pin_and_replace = 16;

bool holds_maps(MapType type) { return type == MapType::array_of_maps || type == MapType::hash_of_maps; }

}  // namespace

Result<void> ObjectReader::read_btf_maps() {
  const auto* section = section_named(maps_section);
  if (section == nullptr || section->size == 0) return {};
  if (!btf_) return fail(Code::malformed, "section .maps: no .BTF section describes the maps; compile with clang -g");
  const auto datasec = btf_->find(maps_section, btf::Kind::datasec);
  if (!datasec) return fail(Code::malformed, "section .maps: .BTF has no DATASEC '.maps'");
  for (const auto& entry : btf_->section_vars(btf_->type(*datasec)))
    SKEP_TRY_AT("section .maps", read_map_variable(*section, entry));
  return {};
}

Result<void> ObjectReader::read_map_variable(const elf::Section& section, const btf::SecVar& entry) {
  const auto variable = btf_->type(entry.type_id);
  if (variable.kind != btf::Kind::var || variable.name.empty())
    return fail(Code::malformed,
                fmt::format("type {} is a {}, expected a named variable", entry.type_id, btf::name_of(variable.kind)));
  const auto place = fmt::format("map {}", variable.name);
  const auto symbol = named_symbols_.find({section.index, variable.name});
  if (symbol == named_symbols_.end())
    return fail(Code::malformed, place + (externs_.contains(variable.name)
                                              ? ": declared extern; link the objects first (skep gen object)"
                                              : ": no symbol says where it lies"));
  const auto definition = btf_->type(btf_->resolve(variable.type_id()));
  if (definition.kind != btf::Kind::struct_)
    return fail(Code::malformed,
                fmt::format("{}: defined by a {}, expected a STRUCT", place, btf::name_of(definition.kind)));
  std::string_view name = variable.name;
  if (name.starts_with(bcc_prefix) && name.size() > bcc_prefix.size()) name.remove_prefix(bcc_prefix.size());
  auto map = SKEP_TRY_AT(place, read_map_definition(definition, name, false));
  const auto where = symbols_->at(symbol->second);
  if (where.value > section.size || where.size > section.size - where.value)
    return fail(Code::malformed, fmt::format("{}: {} bytes at offset {:#x}, but the section has {}", place, where.size,
                                             where.value, section.size));
  MapPlace where_map{section.index, where.value, std::max<u64>(where.size, 1)};
  for (u32 i = 0; i < definition.vlen; i++)
    if (const auto member = btf_->member(definition, i); member.name == "values")
      where_map.values_offset = member.bit_offset / 8;
  return add_map(std::move(map), where_map);
}

Result<MapSpec> ObjectReader::read_map_definition(const btf::Type& definition, std::string_view name, bool is_inner) {
  if (definition.vlen > most_definition_members)
    return fail(Code::limit, fmt::format("its definition has {} members; at most {} are read", definition.vlen,
                                         most_definition_members));
  MapSpec map;
  map.name = name;
  for (u32 i = 0; i < definition.vlen; i++) {
    const auto member = btf_->member(definition, i);
    SKEP_TRY_AT(fmt::format("member {}", member.name), read_map_member(map, member, is_inner));
  }
  if (map.type == MapType::unspec)
    return fail(Code::malformed, "map type is 0; expected __uint(type, BPF_MAP_TYPE_...)");
  return map;
}

/// "Pointer to an array of N" or an enumeration of one value.
Result<u64> ObjectReader::number_of(u32 type_id) const {
  const auto type = btf_->type(btf_->resolve(type_id));
  if (btf::is_enumeration(type.kind) && type.vlen == 1) return static_cast<u64>(btf_->enumerators(type)[0].value);
  if (type.kind == btf::Kind::ptr) {
    const auto array = btf_->type(type.type_id());
    if (array.kind == btf::Kind::array) return btf_->array(array).count;
  }
  return fail(Code::malformed, fmt::format("a {}, expected __uint(NAME, NUMBER)", btf::name_of(type.kind)));
}

Result<void> ObjectReader::read_map_member(MapSpec& map, const btf::Member& member, bool is_inner) {
  auto number = [&]() -> Result<u32> {
    const u64 value = SKEP_TRY(number_of(member.type_id));
    if (value > 0xffffffffULL) return fail(Code::malformed, fmt::format("{} does not fit 32 bits", value));
    return static_cast<u32>(value);
  };
  auto sized_type = [&](u32& size, u32& type_id) -> Result<void> {
    const auto pointer = btf_->type(btf_->resolve(member.type_id));
    if (pointer.kind != btf::Kind::ptr)
      return fail(Code::malformed, fmt::format("a {}, expected __type(NAME, TYPE)", btf::name_of(pointer.kind)));
    const u64 bytes = SKEP_TRY(btf_->size_of(pointer.type_id()));
    if (bytes > 0x7fffffff || (size != 0 && size != bytes))
      return fail(Code::malformed, fmt::format("its type has {} bytes, but the size was given as {}", bytes, size));
    size = static_cast<u32>(bytes);
    type_id = pointer.type_id();
    return {};
  };
  auto given_size = [&](u32& size) -> Result<void> {
    const u32 value = SKEP_TRY(number());
    if (size != 0 && size != value)
      return fail(Code::malformed, fmt::format("{} bytes, but the type given has {}", value, size));
    size = value;
    return {};
  };
  if (member.name == "type")
    map.type = static_cast<MapType>(SKEP_TRY(number()));
  else if (member.name == "max_entries")
    map.max_entries = SKEP_TRY(number());
  else if (member.name == "map_flags")
    map.flags = SKEP_TRY(number());
  else if (member.name == "numa_node")
    map.numa_node = SKEP_TRY(number());
  else if (member.name == "map_extra")
    map.map_extra = SKEP_TRY(number_of(member.type_id));
  else if (member.name == "key_size")
    SKEP_TRY(given_size(map.key_size));
  else if (member.name == "value_size")
    SKEP_TRY(given_size(map.value_size));
  else if (member.name == "key")
    SKEP_TRY(sized_type(map.key_size, map.btf_key_type_id));
  else if (member.name == "value")
    SKEP_TRY(sized_type(map.value_size, map.btf_value_type_id));
  else if (member.name == "values")
    SKEP_TRY(read_map_values(map, member, is_inner));
  else if (member.name == "pinning") {
    const u32 value = SKEP_TRY(number());
    if (value != 0 && is_inner) return fail(Code::malformed, "an inner map cannot be pinned");
    if (value != 0 && value != pin_by_name && value != pin_and_replace)
      return fail(Code::malformed, fmt::format("{}, expected 0 or 1 (LIBBPF_PIN_BY_NAME)", value));
    map.pin_by_name = value != 0;
  } else {
    return fail(Code::unsupported,
                "no such member in a map definition; known are type, key, value, key_size, value_size, "
                "max_entries, map_flags, map_extra, numa_node, pinning and values");
  }
  return {};
}

/// `values`: an array of pointers to an inner map's definition, or to programs.
Result<void> ObjectReader::read_map_values(MapSpec& map, const btf::Member& member, bool is_inner) {
  const auto array = btf_->type(btf_->resolve(member.type_id));
  if (array.kind != btf::Kind::array)
    return fail(Code::malformed, fmt::format("a {}, expected __array(values, ...)", btf::name_of(array.kind)));
  const auto pointer = btf_->type(btf_->resolve(btf_->array(array).element_id));
  const auto pointee = pointer.kind == btf::Kind::ptr ? btf_->type(btf_->resolve(pointer.type_id())) : btf::Type{};
  if (map.value_size != 0 && map.value_size != 4)
    return fail(Code::malformed, fmt::format("values of {} bytes; references take 4", map.value_size));
  map.value_size = 4;
  if (holds_maps(map.type)) {
    if (is_inner) return fail(Code::unsupported, "maps of maps of maps exist in no kernel");
    if (pointee.kind != btf::Kind::struct_)
      return fail(Code::malformed, "expected __array(values, struct { ... }) with the definition of the inner maps");
    auto inner = SKEP_TRY_AT("inner map", read_map_definition(pointee, map.name + ".inner", true));
    map.inner = std::make_shared<const MapSpec>(std::move(inner));
    return {};
  }
  if (map.type == MapType::prog_array && pointee.kind == btf::Kind::func_proto) return {};
  return fail(Code::malformed, "only maps of maps and program arrays have values; `type` must come first");
}

Result<void> ObjectReader::read_static_slots() {
  for (const auto& [index, relocations] : relocations_) {
    const auto& section = *section_at(index);
    if (is_code(section)) continue;
    for (const auto& relocation : relocations) SKEP_TRY(add_static_slot(relocation, section));
  }
  for (auto& map : out_.maps) base::sort_by(map.slots, &MapSpec::Slot::index);
  return {};
}

/// A pointer that the compiler left in a map definition or a struct_ops table: the name goes into a slot.
Result<void> ObjectReader::add_static_slot(const elf::Relocation& relocation, const elf::Section& section) {
  const auto place = place_of(section.index, relocation.offset);
  const auto* where = map_at(section.index, relocation.offset);
  if (where == nullptr) return fail(Code::malformed, place + ": a relocation outside every map");
  auto& map = out_.maps[where->map];
  const auto symbol = SKEP_TRY(symbol_at(relocation.symbol, place));
  SKEP_TRY(take_text_bytes(sizeof(MapSpec::Slot) + symbols_->name(symbol).size()));
  const u64 within = relocation.offset - where->offset;
  const auto* target = section_at(symbol.section);
  if (map.type == MapType::struct_ops) {
    const bool is_program = symbol.type == elf::symbol_func && target != nullptr && is_code(*target);
    if (!is_program)
      return fail(Code::malformed, fmt::format("{}: expected a program, found '{}'", place, symbols_->name(symbol)));
    map.slots.push_back({static_cast<u32>(within), std::string(symbols_->name(symbol))});
    return {};
  }
  if (within < where->values_offset || (within - where->values_offset) % 8 != 0)
    return fail(Code::malformed, fmt::format("{}: map {} has no slot there", place, map.name));
  const auto slot = static_cast<u32>((within - where->values_offset) / 8);
  if (holds_maps(map.type)) {
    const auto* inner = target == nullptr ? nullptr : map_at(symbol.section, symbol.value);
    if (inner == nullptr || target->index != section.index)
      return fail(Code::malformed, fmt::format("{}: expected a map, found '{}'", place, symbols_->name(symbol)));
    map.slots.push_back({slot, out_.maps[inner->map].name});
  } else if (map.type == MapType::prog_array && symbol.type == elf::symbol_func) {
    map.slots.push_back({slot, std::string(symbols_->name(symbol))});
  } else {
    return fail(Code::malformed, fmt::format("{}: map {} cannot hold '{}'", place, map.name, symbols_->name(symbol)));
  }
  return {};
}

}  // namespace skep::spec
