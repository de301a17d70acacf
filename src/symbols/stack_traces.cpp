// Stacks as frames and as folded lines. See stack_traces.hpp.
#include "symbols/stack_traces.hpp"

#include <algorithm>
#include <limits>

#include "base/byte_reader.hpp"

namespace skep::symbols {

namespace {

constexpr u64 element_bytes = 32;  // struct bpf_stack_build_id
constexpr s32 status_valid = 1, status_ip = 2;
constexpr u64 id_offset = 4, id_bytes = 20, place_offset = 24;

/// A name inside of a folded line.
std::string folded_name(std::string_view name) {
  std::string text(name);
  for (char& c : text)
    if (c == ';') {
      c = ':';
    } else if (c == '\n' || c == '\r') {
      c = '_';
    }
  return text;
}

}  // namespace

std::vector<u64> stack_addresses(std::span<const std::byte> value) {
  const base::ByteReader reader(value);
  std::vector<u64> addresses;
  for (u64 at = 0; const auto address = reader.at<u64>(at); at += sizeof(u64)) {
    if (*address == 0) break;
    addresses.push_back(*address);
  }
  return addresses;
}

std::vector<BuildIdPlace> stack_build_ids(std::span<const std::byte> value) {
  const base::ByteReader reader(value);
  std::vector<BuildIdPlace> places;
  for (u64 at = 0; const auto element = reader.slice(at, element_bytes); at += element_bytes) {
    const s32 status = *reader.at<s32>(at);
    if (status != status_valid && status != status_ip) break;
    BuildIdPlace place{{}, *reader.at<u64>(at + place_offset)};
    if (status == status_valid) {
      auto id = element->subspan(id_offset, id_bytes);
      // Shorter ids are filled with zeros: md5 and uuid ids have 16 bytes.
      constexpr u64 short_bytes = 16;
      const auto rest = id.subspan(short_bytes);
      if (std::ranges::all_of(rest, [](std::byte byte) { return byte == std::byte{0}; })) id = id.first(short_bytes);
      place.build_id = build_id_text(id);
    }
    places.push_back(std::move(place));
  }
  return places;
}

std::string folded(std::span<const std::string> innermost_first) {
  std::string line;
  for (auto name = innermost_first.rbegin(); name != innermost_first.rend(); ++name)
    line.append(line.empty() ? "" : ";").append(folded_name(*name));
  return line;
}

void FoldedStacks::add(std::string folded_stack, u64 count) {
  u64& known = lines_[folded_stack.empty() ? "[no stack]" : std::move(folded_stack)];
  known = count > std::numeric_limits<u64>::max() - known ? std::numeric_limits<u64>::max() : known + count;
}

}  // namespace skep::symbols
