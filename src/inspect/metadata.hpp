// What a program says of itself: constants called bpf_metadata_NAME in its read-only data (bpftool's `metadata`).
#pragma once
#include <skep/inspect.hpp>
#include <vector>

namespace skep::inspect {

/// Names without the prefix, values as JSON and as text. Empty where there are none, or they cannot be read.
struct Metadata {
  std::string name, json, text;
};
std::vector<Metadata> metadata_of(Inspector& where, const ProgramInfo& info, const std::vector<MapInfo>& maps);

}  // namespace skep::inspect
