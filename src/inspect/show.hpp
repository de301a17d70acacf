// `show`: the facts of a program, map or link as bpftool's text and as bpftool's JSON keys, in its order.
#pragma once
#include <skep/inspect.hpp>
#include <span>
#include <string>

#include "base/json_writer.hpp"
#include "inspect/metadata.hpp"

namespace skep::inspect {

/// Types with the loaded programs and maps that use them.
struct BtfUse {
  BtfInfo info;
  std::vector<u32> program_ids, map_ids;
};

/// A process that has a descriptor of an object: bpftool's `pids`. Objects of a user engine are held by their host.
struct Process {
  int pid = 0;
  std::string comm;
};
using Processes = std::span<const Process>;

/// Lines with their newlines.
std::string text_of(const ProgramInfo& info, std::span<const Metadata> metadata = {}, Processes holders = {});
std::string text_of(const MapInfo& info, Processes holders = {});
std::string text_of(const LinkInfo& info, Processes holders = {});
std::string text_of(const BtfUse& use, Processes holders = {});

/// One JSON object.
void write(base::JsonWriter& json, const ProgramInfo& info, std::span<const Metadata> metadata = {},
           Processes holders = {});
void write(base::JsonWriter& json, const MapInfo& info, Processes holders = {});
void write(base::JsonWriter& json, const LinkInfo& info, Processes holders = {});
void write(base::JsonWriter& json, const BtfUse& use, Processes holders = {});
/// One member of the object that is open.
void write(base::JsonWriter& json, const Fact& fact);

}  // namespace skep::inspect
