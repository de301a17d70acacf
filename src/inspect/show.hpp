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

/// Lines with their newlines.
std::string text_of(const ProgramInfo& info, std::span<const Metadata> metadata = {});
std::string text_of(const MapInfo& info);
std::string text_of(const LinkInfo& info);
std::string text_of(const BtfUse& use);

/// One JSON object.
void write(base::JsonWriter& json, const ProgramInfo& info, std::span<const Metadata> metadata = {});
void write(base::JsonWriter& json, const MapInfo& info);
void write(base::JsonWriter& json, const LinkInfo& info);
void write(base::JsonWriter& json, const BtfUse& use);
/// One member of the object that is open.
void write(base::JsonWriter& json, const Fact& fact);

}  // namespace skep::inspect
