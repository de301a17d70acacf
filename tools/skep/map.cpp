// skep map: maps of the kernel and of every user-engine process of this user.
#include <fmt/format.h>

#include "arguments.hpp"
#include "inspect/dump.hpp"
#include "show.hpp"

namespace skep::tools {
namespace {

constexpr std::string_view usage =
    "usage: skep map show|list [MAP]                       facts of all maps, or of one\n"
    "       skep map dump MAP                              every entry, decoded by the program's types\n"
    "       skep map lookup MAP key DATA                   one entry\n"
    "       skep map update MAP key DATA value DATA [any|exist|noexist]\n"
    "       skep map delete MAP key DATA\n"
    "       skep map getnext MAP [key DATA]                the key after this one\n\n"
    "  MAP:  id N | name NAME | pinned PATH                on either engine\n"
    "  DATA: one number, or the bytes in memory order: 1 0 0 0, hex 01 00 00 00\n"
    "  -j, --json   JSON with bpftool's keys     -p, --pretty   the same, indented\n\n"
    "example:\n  skep map dump name counter_table\n";

/// A map that a command line names, opened, with its types where it has any.
struct Opened {
  inspect::World world;
  MapInfo info;
  Map map;
  std::shared_ptr<const btf::Btf> types;
};

Result<Opened> open(Words& words) {
  const auto handle = SKEP_TRY(inspect::Handle::parse(words.words, words.position, "map"));
  auto world = inspect::World::open();
  auto found = SKEP_TRY(inspect::select_one(world.maps(), handle, "map"));
  auto map = SKEP_TRY(found.where->map(found.info.id));
  std::shared_ptr<const btf::Btf> types;
  if (found.info.btf_id != 0)
    if (auto read = found.where->btf(found.info.btf_id)) types = *read;  // without them: bytes
  return Opened{std::move(world), std::move(found.info), std::move(map), std::move(types)};
}

Result<std::vector<std::byte>> key_of(Words& words, const MapInfo& info) {
  if (!words.take("key")) return fail(Code::invalid_argument, "expected `key DATA`");
  return parse_data(words, info.key_size, "key");
}

/// Whether entries can be shown decoded: bpftool prints bytes for maps without types.
bool is_typed(const Opened& opened) { return opened.types != nullptr && opened.info.btf_value_type_id != 0; }

Result<int> dump(Words& words) {
  auto opened = SKEP_TRY(open(words));
  SKEP_TRY(words.end());
  const bool as_json = words.json || is_typed(opened);
  // Text of a typed map is its formatted entries, indented: what bpftool prints.
  base::JsonWriter json(words.pretty || !words.json);
  if (as_json) json.begin_array();
  const u64 count = SKEP_TRY(inspect::for_each_entry(opened.map, [&](auto key, auto value) {
    if (as_json) {
      inspect::write_entry(json, opened.info, opened.types.get(), key, value, !words.json);
    } else {
      fmt::print("{}", inspect::entry_text(opened.info, key, value));
    }
    fmt::print("{}", json.take());
  }));
  if (as_json) {
    json.end_array();
    print(json);
  } else {
    fmt::print("Found {} element{}\n", count, count == 1 ? "" : "s");
  }
  return 0;
}

Result<int> lookup(Words& words) {
  auto opened = SKEP_TRY(open(words));
  const auto key = SKEP_TRY(key_of(words, opened.info));
  SKEP_TRY(words.end());
  const auto value = SKEP_TRY(opened.map.lookup(key));
  if (words.json || is_typed(opened)) {
    base::JsonWriter json(words.pretty || !words.json);
    inspect::write_entry(json, opened.info, opened.types.get(), key, value, !words.json);
    print(json);
  } else {
    fmt::print("{}", inspect::entry_text(opened.info, key, value));
  }
  return 0;
}

Result<int> update(Words& words) {
  auto opened = SKEP_TRY(open(words));
  const auto key = SKEP_TRY(key_of(words, opened.info));
  if (!words.take("value")) return fail(Code::invalid_argument, "expected `value DATA` after the key");
  const auto value = inspect::for_every_cpu(opened.info, SKEP_TRY(parse_data(words, opened.info.value_size, "value")));
  u64 flags = 0;
  if (words.take("noexist")) {
    flags = 1;
  } else if (words.take("exist")) {
    flags = 2;
  } else {
    words.take("any");
  }
  SKEP_TRY(words.end());
  if (const auto done = opened.map.update(key, value, flags); !done) return complain(done.error().message, 1);
  if (words.json) fmt::print("null\n");
  return 0;
}

Result<int> erase(Words& words) {
  auto opened = SKEP_TRY(open(words));
  const auto key = SKEP_TRY(key_of(words, opened.info));
  SKEP_TRY(words.end());
  if (const auto done = opened.map.erase(key); !done) return complain(done.error().message, 1);
  if (words.json) fmt::print("null\n");
  return 0;
}

void write_bytes(base::JsonWriter& json, std::span<const std::byte> bytes) {
  json.begin_array();
  for (const auto byte : bytes) json.string(fmt::format("0x{:02x}", static_cast<unsigned>(byte)));
  json.end_array();
}

Result<int> getnext(Words& words) {
  auto opened = SKEP_TRY(open(words));
  std::optional<std::vector<std::byte>> key;
  if (!words.done()) key = SKEP_TRY(key_of(words, opened.info));
  SKEP_TRY(words.end());
  std::optional<std::span<const std::byte>> after;
  if (key) after = *key;
  const auto next = SKEP_TRY(opened.map.next_key(after));
  if (!next) return fail(Code::not_found, fmt::format("map {}: no key follows", opened.info.name));
  if (words.json) {
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
  const auto hex = [](std::span<const std::byte> bytes) {
    std::string text;
    for (const auto byte : bytes) text += fmt::format("{}{:02x}", text.empty() ? "" : " ", static_cast<unsigned>(byte));
    return text;
  };
  fmt::print("key:{}\nnext key:\n{}\n", key ? "\n" + hex(*key) : " None", hex(*next));
  return 0;
}

}  // namespace

int map_verb(const Arguments& arguments) {
  Words words(arguments);
  if (words.help || words.done()) {
    fmt::print("{}", usage);
    return words.help ? 0 : 2;
  }
  const std::string what = words.next();
  Result<int> status = 0;
  if (what == "show" || what == "list") {
    status = show<MapInfo>(words, "map", &inspect::World::maps);
  } else if (what == "dump") {
    status = dump(words);
  } else if (what == "lookup") {
    status = lookup(words);
  } else if (what == "update") {
    status = update(words);
  } else if (what == "delete") {
    status = erase(words);
  } else if (what == "getnext") {
    status = getnext(words);
  } else {
    status = fail(
        Code::invalid_argument,
        fmt::format("map '{}': expected show, list, dump, lookup, update, delete or getnext (see `skep map --help`)",
                    what));
  }
  return status ? *status : complain(status.error());
}

}  // namespace skep::tools
