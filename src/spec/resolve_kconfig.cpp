// Kernel configuration values: from the text of a .config to the bytes of the .kconfig map.
//
// The variable's type says how the text is read: bool, char and enum libbpf_tristate take y, m and n; integers take
// numbers; arrays of char take quoted text, cut to fit.
#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <unordered_map>

#include "spec/resolve.hpp"

namespace skep::spec {
namespace {

constexpr std::string_view kconfig_section = ".kconfig";

bool is_switch(std::string_view text) { return text == "y" || text == "n" || text == "m"; }

Result<void> write_switch(std::span<std::byte> place, const btf::Btf& types, const btf::Type& type, char text) {
  u8 value = 0;
  const bool is_tristate = btf::is_enumeration(type.kind) && type.name == "libbpf_tristate";
  const auto encoding = types.int_encoding(type);
  if (is_tristate) {
    value = text == 'y' ? 1 : text == 'm' ? 2 : 0;
  } else if (encoding.is_bool) {
    if (text == 'm') return fail(Code::malformed, "its value is m, which a bool cannot hold; use enum libbpf_tristate");
    value = text == 'y';
  } else if (type.kind == btf::Kind::int_ && type.size() == 1) {
    value = static_cast<u8>(text);
  } else {
    return fail(Code::malformed, fmt::format("its value is {}; declare it bool, char or enum libbpf_tristate", text));
  }
  place[0] = static_cast<std::byte>(value);
  return {};
}

Result<void> write_text(std::span<std::byte> place, const btf::Btf& types, const btf::Type& type,
                        std::string_view text) {
  if (text.size() < 2 || !text.ends_with('"')) return fail(Code::malformed, fmt::format("{}: no closing quote", text));
  text = text.substr(1, text.size() - 2);
  const auto element = types.type(types.resolve(types.array(type).element_id));
  if (type.kind != btf::Kind::array || element.kind != btf::Kind::int_ || element.size() != 1)
    return fail(Code::malformed, fmt::format("its value is the text \"{}\"; declare it an array of char", text));
  std::memcpy(place.data(), text.data(), std::min(text.size(), place.size() - 1));
  return {};
}

Result<void> write_number(std::span<std::byte> place, const btf::Btf& types, const btf::Type& type,
                          std::string_view text) {
  const bool negative = text.starts_with('-');
  std::string_view digits = negative ? text.substr(1) : text;
  const bool hexadecimal = digits.starts_with("0x") || digits.starts_with("0X");
  if (hexadecimal) digits.remove_prefix(2);
  u64 magnitude = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), magnitude, hexadecimal ? 16 : 10);
  if (error != std::errc{} || end != digits.data() + digits.size())
    return fail(Code::malformed, fmt::format("\"{}\" is no configuration value (y, n, m, a number or \"text\")", text));
  const u64 value = negative ? 0 - magnitude : magnitude;
  const bool is_number = type.kind == btf::Kind::int_ && place.size() <= 8;
  if (!is_number) return fail(Code::malformed, fmt::format("its value is {}; declare it an integer", text));
  const u64 bits = place.size() * 8;
  const bool is_signed = types.int_encoding(type).is_signed;
  const u64 limit = bits == 64 ? ~0ULL : (1ULL << bits) - 1;
  const u64 positive_limit = is_signed ? limit >> 1 : limit;
  const bool fits = negative ? is_signed && magnitude <= positive_limit + 1 : magnitude <= positive_limit;
  if (!fits || (types.int_encoding(type).is_bool && magnitude > 1))
    return fail(Code::malformed, fmt::format("its value {} does not fit {} bits", text, bits));
  std::memcpy(place.data(), &value, place.size());
  return {};
}

Result<void> write_value(std::span<std::byte> place, const btf::Btf& types, u32 type_id, std::string_view text) {
  const auto type = types.type(types.resolve(type_id));
  if (place.empty()) return fail(Code::malformed, "the variable has no bytes");
  if (is_switch(text)) return write_switch(place, types, type, text[0]);
  if (text.starts_with('"')) return write_text(place, types, type, text);
  return write_number(place, types, type, text);
}

}  // namespace

Result<void> resolve_kconfig(ObjectSpec& object, const KconfigLookup& lookup) {
  const auto is_kconfig = [&](const MapSpec& map) {
    return map.is_global_data && object.btf && map.btf_value_type_id != 0 &&
           object.btf->type(map.btf_value_type_id).name == kconfig_section;
  };
  const auto map = std::find_if(object.maps.begin(), object.maps.end(), is_kconfig);
  if (map == object.maps.end()) return {};
  std::unordered_map<std::string_view, bool> needed;  // by name: some use is not weak
  for (const auto& program : object.programs)
    for (const auto& reference : program.references)
      if (reference.kind == Reference::Kind::kconfig) needed[reference.name] |= !reference.weak;

  const auto& types = *object.btf;
  for (const auto& entry : types.section_vars(types.type(map->btf_value_type_id))) {
    const auto variable = types.type(entry.type_id);
    if (variable.kind != btf::Kind::var || u64{entry.offset} + entry.size > map->initial_value.size())
      return fail(Code::malformed, fmt::format("section .kconfig: type {} does not lie in the map", entry.type_id));
    const auto text = lookup(variable.name);
    if (text) {
      const auto place = std::span(map->initial_value).subspan(entry.offset, entry.size);
      SKEP_TRY_AT(variable.name, write_value(place, types, variable.type_id(), *text));
    } else if (const auto use = needed.find(variable.name); use != needed.end() && use->second) {
      return fail(Code::not_found, fmt::format("{}: the kernel configuration has no such option; declare it __weak to "
                                               "read 0 instead",
                                               variable.name));
    }
  }
  for (auto& program : object.programs)
    for (auto& reference : program.references)
      if (reference.kind == Reference::Kind::kconfig) reference.kind = Reference::Kind::map_value;
  return {};
}

}  // namespace skep::spec
