// skep map: maps of the kernel and of every user-engine process of this user.
#include <fmt/format.h>

#include "inspect/dump.hpp"
#include "map_words.hpp"
#include "show.hpp"

namespace skep::tools {
namespace {

constexpr std::string_view usage =
    "usage: skep map show|list [MAP]                       facts of all maps, or of one\n"
    "       skep map dump MAP                              every entry, decoded by the program's types\n"
    "       skep map lookup MAP key DATA                   one entry\n"
    "       skep map update MAP [key DATA] value VALUE [any|exist|noexist]\n"
    "       skep map delete MAP key DATA\n"
    "       skep map getnext MAP [key DATA]                the key after this one\n"
    "       skep map peek|pop|dequeue MAP                  the next value of a queue or stack; pop takes it out\n"
    "       skep map peek MAP                              a ring buffer of the kernel: the records that wait, left "
    "there\n"
    "       skep map push|enqueue MAP value VALUE          into a queue, stack or bloom filter\n"
    "       skep map freeze MAP                            from now on only programs can change it\n"
    "       skep map event_pipe MAP [cpu N]                records of a perf_event_array or ringbuf, as they come\n"
    "       skep map pin MAP PATH                          kernel: give it a path in bpffs\n"
    "       skep map create PATH type TYPE key BYTES value BYTES entries N name NAME [flags N] [inner_map MAP]\n\n"
    "  MAP:   [id] N | name NAME | pinned PATH               on either engine\n"
    "  DATA:  one number, or the bytes in memory order: 1 0 0 0, hex 01 00 00 00\n"
    "  VALUE: DATA; for every CPU where values are per CPU; maps of maps and program arrays: id N | name NAME | pinned "
    "PATH\n"
    "  -j, --json   JSON with bpftool's keys     -p, --pretty   the same, indented\n\n"
    "example:\n  skep map dump name counter_table\n"
    "  skep map create /sys/fs/bpf/limits type hash key 4 value 8 entries 1024 name limits\n";

Result<int> dump(Words& words) {
  auto opened = SKEP_TRY(open_map(words));
  SKEP_TRY(words.end());
  note(opened.no_types);
  bool has_begun = false;
  const auto write = [&](std::string_view text) {
    has_begun = true;
    std::fwrite(text.data(), 1, text.size(), stdout);
  };
  auto dumped = inspect::dump_map(opened.map, opened.info, opened.types.get(), {words.json, words.pretty}, write);
  if (!dumped && has_begun && words.json) return 1;  // the array that was begun ends with the error
  SKEP_TRY(std::move(dumped));
  return 0;
}

Result<int> lookup(Words& words) {
  auto opened = SKEP_TRY(open_map(words));
  const auto key = SKEP_TRY(key_of(words, opened.info));
  SKEP_TRY(words.end());
  auto found = opened.map.lookup(key);
  if (!found && found.error().code == Code::not_found && words.json) return nothing_there();
  const auto value = SKEP_TRY(std::move(found));
  note(opened.no_types);
  fmt::print("{}", inspect::entry_text(opened.info, opened.types.get(), key, value, {words.json, words.pretty}));
  return 0;
}

Result<int> act(Words& words) {
  const std::string what = words.next();
  if (what == "show" || what == "list") return show<MapInfo>(words, "map", &inspect::World::maps);
  if (what == "dump") return dump(words);
  if (what == "lookup") return lookup(words);
  if (what == "update") return map_update(words);
  if (what == "delete") return map_delete(words);
  if (what == "getnext") return map_getnext(words);
  if (what == "peek") return map_peek(words, false);
  if (what == "pop" || what == "dequeue") return map_peek(words, true);
  if (what == "push" || what == "enqueue") return map_push(words);
  if (what == "freeze") return map_freeze(words);
  if (what == "event_pipe") return map_event_pipe(words);
  if (what == "pin") return map_pin(words);
  if (what == "create") return map_create(words);
  return fail(
      Code::invalid_argument,
      fmt::format("map '{}': expected show, list, dump, lookup, update, delete, getnext, peek, pop, dequeue, push, "
                  "enqueue, freeze, event_pipe, pin or create (see `skep map --help`)",
                  what));
}

}  // namespace

int map_verb(const Arguments& arguments) { return run_words(arguments, usage, act); }

}  // namespace skep::tools
