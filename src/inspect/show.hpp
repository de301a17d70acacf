// `show`: the facts of a program, map or link as bpftool's text and as bpftool's JSON keys, in its order.
#pragma once
#include <skep/inspect.hpp>
#include <string>

#include "base/json_writer.hpp"

namespace skep::inspect {

/// Lines with their newlines.
std::string text_of(const ProgramInfo& info);
std::string text_of(const MapInfo& info);
std::string text_of(const LinkInfo& info);

/// One JSON object.
void write(base::JsonWriter& json, const ProgramInfo& info);
void write(base::JsonWriter& json, const MapInfo& info);
void write(base::JsonWriter& json, const LinkInfo& info);

}  // namespace skep::inspect
