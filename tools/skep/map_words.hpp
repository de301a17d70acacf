// What the verbs of `skep map` share: the map that a line names, its keys and values.
#pragma once
#include <memory>
#include <skep/backend.hpp>

#include "arguments.hpp"
#include "btf/btf.hpp"
#include "inspect/entry_printer.hpp"
#include "inspect/objects.hpp"

namespace skep::tools {

/// A map that a command line names, opened, with its types where it has any.
struct OpenedMap {
  inspect::World world;
  MapInfo info;
  Inspector* where = nullptr;
  Map map;
  std::shared_ptr<const btf::Btf> types;
  std::string no_types;  ///< why a map that has types is shown without them
};

Result<OpenedMap> open_map(Words& words);

/// `key DATA`; maps without keys (queue, stack, bloom_filter) take none.
Result<std::vector<std::byte>> key_of(Words& words, const MapInfo& info);
/// `value DATA` as the map takes it; maps of maps and program arrays take `value id N` and its kind.
Result<std::vector<std::byte>> value_of(Words& words, OpenedMap& opened);

/// ["0x01","0x02"]
void write_bytes(base::JsonWriter& json, std::span<const std::byte> bytes);
using inspect::hex_text;

/// Nothing was asked for but that it is done: JSON says null, as bpftool does.
int done(const Words& words);
/// What a look-up found, in JSON: null, as bpftool says it. Returns the exit status.
int nothing_there();
/// The engine's no to a change, whose line was right: exit status 1, whatever is the matter.
int refuse(const Words& words, const Error& error);

Result<int> map_create(Words& words);
Result<int> map_update(Words& words);
Result<int> map_delete(Words& words);
Result<int> map_getnext(Words& words);
Result<int> map_pin(Words& words);
Result<int> map_freeze(Words& words);
/// peek; pop and dequeue with `take`.
Result<int> map_peek(Words& words, bool take);
Result<int> map_push(Words& words);
Result<int> map_event_pipe(Words& words);

}  // namespace skep::tools
