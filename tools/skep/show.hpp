// `prog show`, `map show`, `link show`: one list, its objects written by inspect/show.
#pragma once
#include <fmt/format.h>

#include <algorithm>
#include <type_traits>

#include "arguments.hpp"
#include "holders.hpp"
#include "inspect/objects.hpp"
#include "inspect/show.hpp"

namespace skep::tools {

/// Everything `list` finds, or what the following handle names. One named object is not an array, as in bpftool.
template <class Info>
Result<int> show(Words& words, std::string_view kind, std::vector<inspect::Found<Info>> (inspect::World::*list)()) {
  auto world = inspect::World::open();
  const bool one = !words.done();
  std::vector<inspect::Found<Info>> all;
  if (one) {
    const auto handle = SKEP_TRY(inspect::Handle::parse(words.words, words.position, kind));
    SKEP_TRY(words.end());
    all = SKEP_TRY(world.template all<Info>(handle));
  } else {
    all = (world.*list)();
  }
  base::JsonWriter json(words.pretty);
  const bool array = !one || all.size() > 1;
  if (array) json.begin_array();
  std::vector<MapInfo> maps;
  if constexpr (std::is_same_v<Info, ProgramInfo>)
    for (auto& found : world.maps()) maps.push_back(std::move(found.info));
  using Kind = Holders::Kind;
  const auto holders = Holders::of(std::is_same_v<Info, ProgramInfo> ? Kind::program
                                   : std::is_same_v<Info, MapInfo>   ? Kind::map
                                                                     : Kind::link);
  for (const auto& found : all) {
    const auto processes = holders[found.info.id];
    if constexpr (std::is_same_v<Info, ProgramInfo>) {
      const auto metadata = inspect::metadata_of(*found.where, found.info, maps);
      words.json ? inspect::write(json, found.info, metadata, processes)
                 : fmt::print("{}", inspect::text_of(found.info, metadata, processes));
    } else {
      words.json ? inspect::write(json, found.info, processes)
                 : fmt::print("{}", inspect::text_of(found.info, processes));
    }
  }
  if (array) json.end_array();
  if (words.json) print(json);
  if constexpr (std::is_same_v<Info, ProgramInfo>)
    if (std::ranges::any_of(all, [](const auto& found) { return found.info.bytes_xlated == 0; }))
      note("programs of 0 bytes: the kernel tells the size of their code only to who has CAP_BPF");
  for (const auto& text : world.notes()) note(text, one);
  return 0;
}

}  // namespace skep::tools
