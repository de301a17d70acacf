// The verbs of `skep map` that change something: create, update, delete, pin, freeze, push, pop; and getnext, peek.
#include <fmt/format.h>

#include <charconv>

#include "kernel/open.hpp"
#include "kernel/rings.hpp"
#include "map_words.hpp"

namespace skep::tools {

namespace {

Result<u32> number_after(Words& words, std::string_view what) {
  const std::string text = words.next();
  const bool hex = text.starts_with("0x");
  u32 value = 0;
  const char* begin = text.data() + (hex ? 2 : 0);
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(begin, end, value, hex ? 16 : 10);
  if (begin == end || error != std::errc() || stop != end)
    return fail(Code::invalid_argument, fmt::format("{}: '{}' is not a number of at most 32 bits", what, text));
  return value;
}

Result<MapType> map_type_of(const std::string& name) {
#define SKEP_MAP_TYPE(row, number, printed, since) \
  if (name == printed) return MapType::row;
#include <skep/tables/map_types.def>
#undef SKEP_MAP_TYPE
  std::string names;
#define SKEP_MAP_TYPE(row, number, printed, since) names += names.empty() ? printed : ", " printed;
#include <skep/tables/map_types.def>
#undef SKEP_MAP_TYPE
  return fail(Code::invalid_argument, fmt::format("type '{}' is no map type; there are: {}", name, names));
}

bool is_queue(MapType type) { return type == MapType::queue || type == MapType::stack; }

}  // namespace

Result<int> map_create(Words& words) {
  const std::string path = words.next();
  if (path.empty()) return fail(Code::invalid_argument, "expected the path in bpffs where the map is pinned");
  MapSpec spec;
  u32 inner = 0;
  auto world = inspect::World::open();
  while (!words.done()) {
    const std::string word = words.next();
    if (word == "type") {
      spec.type = SKEP_TRY(map_type_of(words.next()));
    } else if (word == "key") {
      spec.key_size = SKEP_TRY(number_after(words, "key"));
    } else if (word == "value") {
      spec.value_size = SKEP_TRY(number_after(words, "value"));
    } else if (word == "entries") {
      spec.max_entries = SKEP_TRY(number_after(words, "entries"));
    } else if (word == "flags") {
      spec.flags = SKEP_TRY(number_after(words, "flags"));
    } else if (word == "name") {
      spec.name = words.next();
    } else if (word == "inner_map") {
      const auto handle = SKEP_TRY(inspect::Handle::parse(words.words, words.position, "map"));
      inner = SKEP_TRY(world.map(handle)).info.id;
    } else {
      return fail(Code::invalid_argument,
                  fmt::format("map create: '{}': expected type, key, value, entries, name, flags or inner_map", word));
    }
  }
  if (spec.type == MapType::unspec) return fail(Code::invalid_argument, "map create: `type TYPE` is missing");
  if (spec.name.empty()) return fail(Code::invalid_argument, "map create: `name NAME` is missing");
  const auto engine = SKEP_TRY(kernel_backend());  // making a map takes less than listing those of others
  const auto map = SKEP_TRY(engine->inspector().create_map(spec, inner));
  SKEP_TRY(engine->inspector().pin(ObjectKind::map, map.info().id, path));
  return done(words);
}

Result<int> map_update(Words& words) {
  auto opened = SKEP_TRY(open_map(words));
  const auto key = SKEP_TRY(key_of(words, opened.info));
  const auto value = SKEP_TRY(value_of(words, opened));
  u64 flags = 0;
  if (words.take("noexist")) {
    flags = 1;
  } else if (words.take("exist")) {
    flags = 2;
  } else {
    words.take("any");
  }
  SKEP_TRY(words.end());
  if (const auto updated = opened.map.update(key, value, flags); !updated) return refuse(words, updated.error());
  return done(words);
}

Result<int> map_delete(Words& words) {
  auto opened = SKEP_TRY(open_map(words));
  const auto key = SKEP_TRY(key_of(words, opened.info));
  SKEP_TRY(words.end());
  if (const auto erased = opened.map.erase(key); !erased) return refuse(words, erased.error());
  return done(words);
}

Result<int> map_getnext(Words& words) {
  auto opened = SKEP_TRY(open_map(words));
  std::optional<std::vector<std::byte>> key;
  if (!words.done()) key = SKEP_TRY(key_of(words, opened.info));
  SKEP_TRY(words.end());
  std::optional<std::span<const std::byte>> after;
  if (key) after = *key;
  const auto next = SKEP_TRY(opened.map.next_key(after));
  if (!next) return fail(Code::not_found, fmt::format("map {}: no key follows", opened.info.name));
  if (!words.json) {
    fmt::print("key:{}\nnext key:\n{}\n", key ? "\n" + hex_text(*key) : " None", hex_text(*next));
    return 0;
  }
  base::JsonWriter json(words.pretty);
  json.begin_object();
  json.key("key");
  key ? write_bytes(json, *key) : json.null();
  json.key("next_key");
  write_bytes(json, *next);
  json.end_object();
  print(json);
  return 0;
}

Result<int> map_pin(Words& words) {
  auto opened = SKEP_TRY(open_map(words));
  const std::string path = words.next();
  if (path.empty()) return fail(Code::invalid_argument, "expected the path in bpffs after the map");
  SKEP_TRY(words.end());
  SKEP_TRY(opened.where->pin(ObjectKind::map, opened.info.id, path));
  return done(words);
}

Result<int> map_freeze(Words& words) {
  auto opened = SKEP_TRY(open_map(words));
  SKEP_TRY(words.end());
  if (const auto frozen = opened.map.freeze(); !frozen) return refuse(words, frozen.error());
  return done(words);
}

namespace {

/// The records that wait in a ring buffer of the kernel, which stay there.
Result<int> peek_ring(const Words& words, const MapInfo& info) {
  if (info.host_pid != 0)
    return fail(Code::unsupported,
                fmt::format("map {}: its records are seen by the process it lives in, {}", info.name, info.host_pid));
  const auto fd = SKEP_TRY(kernel::open_by_id(kernel::uapi::Cmd::map_get_fd_by_id, info.id, "map"));
  auto ring = SKEP_TRY(kernel::peek_ring_buffer(fd.get(), info));
  base::JsonWriter json(words.pretty);
  json.begin_array();
  const auto count = SKEP_TRY(ring.poll(std::chrono::milliseconds(0), [&](const Record& record) {
    if (!words.json) {
      fmt::print("value: {}\n", hex_text(record.data));
      return;
    }
    json.begin_object();
    json.key("value");
    write_bytes(json, record.data);
    json.end_object();
  }));
  json.end_array();
  if (words.json)
    print(json);
  else
    fmt::print("{} record{} wait{}\n", count, count == 1 ? "" : "s", count == 1 ? "s" : "");
  return 0;
}

}  // namespace

Result<int> map_peek(Words& words, bool take) {
  auto opened = SKEP_TRY(open_map(words));
  SKEP_TRY(words.end());
  if (!take && opened.info.type == MapType::ringbuf) return peek_ring(words, opened.info);
  if (!is_queue(opened.info.type))
    return fail(
        Code::unsupported,
        fmt::format("map {} is a {}: peek, pop and dequeue are for queue and stack maps, peek for ring buffers too; "
                    "`lookup` reads others",
                    opened.info.name, name_of(opened.info.type)));
  const auto value = take ? opened.map.take({}) : opened.map.lookup({});
  if (!value && value.error().code == Code::not_found)
    return words.json ? nothing_there() : refuse(words, value.error());
  const auto bytes = SKEP_TRY(Result<std::vector<std::byte>>(value));
  if (!words.json) {
    fmt::print("value: {}\n", hex_text(bytes));
    return 0;
  }
  base::JsonWriter json(words.pretty);
  json.begin_object();
  json.key("value");
  write_bytes(json, bytes);
  json.end_object();
  print(json);
  return 0;
}

Result<int> map_push(Words& words) {
  auto opened = SKEP_TRY(open_map(words));
  if (!is_queue(opened.info.type) && opened.info.type != MapType::bloom_filter)
    return fail(
        Code::unsupported,
        fmt::format("map {} is a {}: push and enqueue are for queue, stack and bloom_filter maps; `update` writes "
                    "others",
                    opened.info.name, name_of(opened.info.type)));
  const auto value = SKEP_TRY(value_of(words, opened));
  SKEP_TRY(words.end());
  if (const auto pushed = opened.map.update({}, value); !pushed) return refuse(words, pushed.error());
  return done(words);
}

}  // namespace skep::tools
