// See map_table.hpp. Struct keys and values become columns, per-CPU values one text, global variables names
// with values. Arrays show their non-zero entries: a histogram of 64 slots is mostly zeros.
#include "trace/map_table.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/json_writer.hpp"
#include "btf/btf.hpp"
#include "btf/format_value.hpp"
#include "trace/fields.hpp"

namespace skep::trace {
namespace {

constexpr std::size_t most_rows = 1000;

bool is_for_people(const MapSpec& map) {
  if (map.name.starts_with("__bpf_usdt_")) return false;  // filled by the loader
  switch (map.type) {
    case MapType::hash:
    case MapType::array:
    case MapType::percpu_hash:
    case MapType::percpu_array:
    case MapType::lru_hash:
    case MapType::lru_percpu_hash:
    case MapType::lpm_trie:
    case MapType::stack_trace:
      return !map.frozen && !map.name.ends_with(".rodata") && map.name != ".kconfig";
    default:
      return false;
  }
}

bool is_array(MapType type) { return type == MapType::array || type == MapType::percpu_array; }
bool is_per_cpu(MapType type) {
  return type == MapType::percpu_hash || type == MapType::percpu_array || type == MapType::lru_percpu_hash;
}

bool is_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{0}; });
}

struct Entry {
  std::vector<std::byte> key, value;
};

Result<std::vector<Entry>> read_all(const Map& map) {
  std::vector<Entry> entries;
  const u64 most = 2 * u64{map.info().max_entries} + 16;  // keys may come twice while the map changes
  auto key = SKEP_TRY(map.next_key(std::nullopt));
  for (u64 steps = 0; key && steps < most; ++steps) {
    auto next = map.next_key(*key);
    if (auto value = map.lookup(*key)) entries.push_back({std::move(*key), std::move(*value)});
    key = SKEP_TRY(std::move(next));
  }
  return entries;
}

/// One map while it is printed: its facts, its types, its entries.
struct View {
  const MapSpec& spec;
  const btf::Btf* types;
  std::vector<Entry> entries;

  u32 type_of(u32 id) const { return types != nullptr && id < types->type_count() ? id : 0; }
  std::vector<std::string> names(u32 type_id, std::string_view what) const {
    return type_of(type_id) == 0 ? std::vector<std::string>{std::string(what)} : column_names(*types, type_id, what);
  }
  std::vector<std::string> texts(u32 type_id, std::span<const std::byte> bytes) const {
    return type_of(type_id) == 0 ? std::vector<std::string>{untyped(bytes)} : column_texts(*types, type_id, bytes);
  }
  static std::string untyped(std::span<const std::byte> bytes) {
    u64 number = 0;
    if (bytes.size() > 8) return hex(bytes);
    __builtin_memcpy(&number, bytes.data(), bytes.size());
    return std::to_string(number);
  }
  std::string json(u32 type_id, std::span<const std::byte> bytes) const {
    if (type_of(type_id) != 0)
      if (auto text = btf::format_value(*types, type_id, bytes)) return std::move(*text);
    return bytes.size() > 8 ? base::json_quote(hex(bytes)) : untyped(bytes);
  }
};

std::size_t stride(const MapSpec& spec) { return (std::size_t{spec.value_size} + 7) & ~std::size_t{7}; }

/// "3 (cpu 0), 2 (cpu 5)": CPUs whose value is not zero.
std::string per_cpu_text(const View& view, std::span<const std::byte> value) {
  std::string text;
  for (std::size_t cpu = 0; (cpu + 1) * stride(view.spec) <= value.size(); ++cpu) {
    const auto slot = value.subspan(cpu * stride(view.spec), view.spec.value_size);
    if (is_zero(slot)) continue;
    std::string parts;
    for (const auto& part : view.texts(view.spec.btf_value_type_id, slot)) parts += (parts.empty() ? "" : " ") + part;
    text += fmt::format("{}{} (cpu {})", text.empty() ? "" : ", ", parts, cpu);
  }
  return text.empty() ? "0" : text;
}

void print_variables(const View& view, Output& output) {
  const auto section = view.types->type(view.spec.btf_value_type_id);
  const std::span<const std::byte> bytes = view.entries.front().value;
  output.line(fmt::format("{}: global variables", view.spec.name));
  for (const auto& variable : view.types->section_vars(section)) {
    const auto var = view.types->type(variable.type_id);
    if (variable.offset > bytes.size() || variable.size > bytes.size() - variable.offset) continue;
    auto text = btf::format_value(*view.types, var.type_id(), bytes.subspan(variable.offset, variable.size));
    output.line(fmt::format("  {} = {}", var.name, text ? *text : hex(bytes.subspan(variable.offset, variable.size))));
  }
}

void print_rows(const View& view, Output& output) {
  const bool per_cpu = is_per_cpu(view.spec.type);
  auto names = view.names(view.spec.btf_key_type_id, "key");
  for (auto& name : per_cpu ? std::vector<std::string>{"values"} : view.names(view.spec.btf_value_type_id, "value"))
    names.push_back(name);
  Table table(std::move(names));
  std::size_t zeros = 0, beyond = 0;
  for (const auto& entry : view.entries) {
    if (is_array(view.spec.type) && is_zero(entry.value)) {
      ++zeros;
    } else if (table.size() == most_rows) {
      ++beyond;
    } else {
      auto texts = view.texts(view.spec.btf_key_type_id, entry.key);
      for (auto& text : per_cpu ? std::vector<std::string>{per_cpu_text(view, entry.value)}
                                : view.texts(view.spec.btf_value_type_id, entry.value))
        texts.push_back(text);
      table.row(std::move(texts));
    }
  }
  output.line(fmt::format("{}: {}, {} {}{}", view.spec.name, name_of(view.spec.type), view.entries.size(),
                          view.entries.size() == 1 ? "entry" : "entries",
                          zeros > 0 ? fmt::format(", {} of them zero", zeros) : ""));
  if (table.size() > 0)
    for (const auto& line : table.lines("  ")) output.line(line);
  if (beyond > 0)
    output.line(fmt::format("  ... and {} more: `skep map dump name {}` shows them all while the program runs", beyond,
                            view.spec.name));
}

void print_stacks(const View& view, const NameStack& name_stack, Output& output) {
  const auto& entries = view.entries;
  const bool build_ids = (view.spec.flags & 1u << 5) != 0;  // BPF_F_STACK_BUILD_ID
  if (output.json()) {
    base::JsonWriter json;
    json.begin_object();
    json.member("map", view.spec.name);
    json.member("type", name_of(view.spec.type));
    json.key("entries");
    json.begin_array();
    for (const auto& entry : entries) {
      json.begin_object();
      json.key("key");
      json.raw(View::untyped(entry.key));
      json.key("frames");
      json.begin_array();
      for (const auto& frame : name_stack(entry.value, build_ids)) json.string(frame);
      json.end_array();
      json.end_object();
    }
    json.end_array();
    json.end_object();
    output.line(json.text());
    return;
  }
  output.line(fmt::format("{}: {}, {} {}", view.spec.name, name_of(view.spec.type), entries.size(),
                          entries.size() == 1 ? "stack" : "stacks"));
  for (std::size_t i = 0; i < std::min(entries.size(), most_rows); ++i) {
    output.line(fmt::format("  {}", View::untyped(entries[i].key)));
    for (const auto& frame : name_stack(entries[i].value, build_ids)) output.line("    " + frame);
  }
  if (entries.size() > most_rows) output.line(fmt::format("  ... and {} more", entries.size() - most_rows));
}

void print_json(const View& view, Output& output) {
  base::JsonWriter json;
  json.begin_object();
  json.member("map", view.spec.name);
  json.member("type", name_of(view.spec.type));
  json.key("entries");
  json.begin_array();
  for (const auto& entry : view.entries) {
    json.begin_object();
    json.key("key");
    json.raw(view.json(view.spec.btf_key_type_id, entry.key));
    if (is_per_cpu(view.spec.type)) {
      json.key("values");
      json.begin_array();
      for (std::size_t cpu = 0; (cpu + 1) * stride(view.spec) <= entry.value.size(); ++cpu)
        json.raw(
            view.json(view.spec.btf_value_type_id,
                      std::span<const std::byte>(entry.value).subspan(cpu * stride(view.spec), view.spec.value_size)));
      json.end_array();
    } else {
      json.key("value");
      json.raw(view.json(view.spec.btf_value_type_id, entry.value));
    }
    json.end_object();
  }
  json.end_array();
  json.end_object();
  output.line(json.text());
}

}  // namespace

void print_maps(Object& object, const ObjectSpec& spec, const NameStack& name_stack, Output& output) {
  for (const auto& map_spec : spec.maps) {
    if (!is_for_people(map_spec)) continue;
    const auto map = object.map(map_spec.name);
    if (!map) continue;  // not made: no program that was loaded uses it
    auto entries = read_all(*map);
    if (!entries) {
      output.line(fmt::format("{}: {}", map_spec.name, entries.error().message));
      continue;
    }
    const View view{map_spec, spec.btf.get(), std::move(*entries)};
    const bool variables = map_spec.is_global_data && view.type_of(map_spec.btf_value_type_id) != 0 &&
                           !view.entries.empty() &&
                           view.types->type(map_spec.btf_value_type_id).kind == btf::Kind::datasec;
    if (map_spec.type == MapType::stack_trace) {
      print_stacks(view, name_stack, output);
    } else if (output.json()) {
      print_json(view, output);
    } else if (variables) {
      print_variables(view, output);
    } else {
      print_rows(view, output);
    }
  }
}

}  // namespace skep::trace
