// `map dump`: entries decoded by BTF or as bytes, in bpftool's layouts.
#include <fmt/format.h>

#include "base/cpus.hpp"
#include "btf/format_value.hpp"
#include "inspect/dump.hpp"

namespace skep::inspect {
namespace {

void write_bytes(base::JsonWriter& json, std::span<const std::byte> bytes) {
  json.begin_array();
  for (const auto byte : bytes) json.string(fmt::format("0x{:02x}", static_cast<unsigned>(byte)));
  json.end_array();
}

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const auto byte : bytes) text += fmt::format("{}{:02x}", text.empty() ? "" : " ", static_cast<unsigned>(byte));
  return text;
}

/// A per-CPU value as the system call gives it: one slot of round_up(value_size, 8) bytes per possible CPU.
bool is_per_cpu(MapType type) {
  return type == MapType::percpu_hash || type == MapType::percpu_array || type == MapType::lru_percpu_hash ||
         type == MapType::percpu_cgroup_storage;
}

/// Calls `on_slot(cpu, bytes)` for each CPU's part of a per-CPU value.
template <class OnSlot>
void each_cpu(const MapInfo& info, std::span<const std::byte> value, OnSlot on_slot) {
  const std::size_t stride = (std::size_t{info.value_size} + 7) & ~std::size_t{7};
  for (u32 cpu = 0; stride != 0 && (cpu + 1) * stride <= value.size(); ++cpu)
    on_slot(cpu, value.subspan(cpu * stride, info.value_size));
}

/// A typed value, or its bytes where the types do not fit it.
void write_typed(base::JsonWriter& json, const btf::Btf& types, u32 type_id, std::span<const std::byte> bytes,
                 bool plain) {
  const auto style = plain ? btf::ValueStyle::plain : btf::ValueStyle::json;
  base::JsonWriter attempt;
  if (type_id < types.type_count() && btf::write_value(attempt, types, type_id, bytes, style)) {
    (void)btf::write_value(json, types, type_id, bytes, style);  // it has just succeeded
  } else {
    write_bytes(json, bytes);
  }
}

/// {"key":..., "value":...}: global data has no key type, and then no key is shown.
void write_formatted(base::JsonWriter& json, const MapInfo& info, const btf::Btf& types, std::span<const std::byte> key,
                     std::span<const std::byte> value, bool plain) {
  json.begin_object();
  if (info.btf_key_type_id != 0) {
    json.key("key");
    write_typed(json, types, info.btf_key_type_id, key, plain);
  }
  if (!is_per_cpu(info.type)) {
    json.key("value");
    write_typed(json, types, info.btf_value_type_id, value, plain);
  } else {
    json.key("values");
    json.begin_array();
    each_cpu(info, value, [&](u32 cpu, std::span<const std::byte> slot) {
      json.begin_object();
      json.member("cpu", cpu);
      json.key("value");
      write_typed(json, types, info.btf_value_type_id, slot, plain);
      json.end_object();
    });
    json.end_array();
  }
  json.end_object();
}

}  // namespace

void write_entry(base::JsonWriter& json, const MapInfo& info, const btf::Btf* types, std::span<const std::byte> key,
                 std::span<const std::byte> value, bool plain) {
  const bool typed = types != nullptr && info.btf_value_type_id != 0;
  if (plain && typed) return write_formatted(json, info, *types, key, value, true);
  json.begin_object();
  json.key("key");
  write_bytes(json, key);
  if (!is_per_cpu(info.type)) {
    json.key("value");
    write_bytes(json, value);
  } else {
    json.key("values");
    json.begin_array();
    each_cpu(info, value, [&](u32 cpu, std::span<const std::byte> slot) {
      json.begin_object();
      json.member("cpu", cpu);
      json.key("value");
      write_bytes(json, slot);
      json.end_object();
    });
    json.end_array();
  }
  if (typed) {
    json.key("formatted");
    write_formatted(json, info, *types, key, value, false);
  }
  json.end_object();
}

std::string entry_text(const MapInfo& info, std::span<const std::byte> key, std::span<const std::byte> value) {
  constexpr std::size_t longest_on_one_line = 24, longest_part = 16;
  if (is_per_cpu(info.type)) {
    std::string text = "key:\n" + hex(key) + "\n";
    each_cpu(info, value, [&](u32 cpu, std::span<const std::byte> slot) {
      text += fmt::format("value (CPU {:02}): {}\n", cpu, hex(slot));
    });
    return text;
  }
  const bool broken = key.size() > longest_part || value.size() > longest_part;
  const bool one_line = !broken && key.size() + value.size() <= longest_on_one_line;
  const char after = broken ? '\n' : ' ';
  return fmt::format("key:{}{}{}value:{}{}\n", after, hex(key), one_line ? "  " : "\n", after, hex(value));
}

std::vector<std::byte> for_every_cpu(const MapInfo& info, std::vector<std::byte> value) {
  if (!is_per_cpu(info.type)) return value;
  value.resize((value.size() + 7) & ~std::size_t{7});
  std::vector<std::byte> all;
  for (u32 cpu = 0; cpu < base::possible_cpus(); ++cpu) all.insert(all.end(), value.begin(), value.end());
  return all;
}

Result<u64> for_each_entry(
    const Map& map, const std::function<void(std::span<const std::byte>, std::span<const std::byte>)>& on_entry) {
  u64 count = 0;
  // A map that changes while it is walked may hand out keys again; twice its size is more than a full walk.
  const u64 most = 2 * u64{map.info().max_entries} + 16;
  std::optional<std::vector<std::byte>> key = SKEP_TRY(map.next_key(std::nullopt));
  for (u64 steps = 0; key && steps < most; ++steps) {
    auto value = map.lookup(*key);
    if (value) {
      on_entry(*key, *value);
      ++count;
    } else if (value.error().code != Code::not_found) {
      return tl::unexpected(std::move(value).error());
    }
    key = SKEP_TRY(map.next_key(*key));
  }
  return count;
}

}  // namespace skep::inspect
