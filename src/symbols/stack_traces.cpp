// Stacks as frames and as folded lines. See stack_traces.hpp.
#include "symbols/stack_traces.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
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

std::string folded_text(const Frame& frame) { return text(frame, {.folded = true}) + (frame.is_kernel ? "_[k]" : ""); }

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

std::vector<Frame> kernel_stack(Symbolizer& symbolizer, std::span<const std::byte> value) {
  return symbolizer.kernel(stack_addresses(value));
}

std::vector<Frame> user_stack(Symbolizer& symbolizer, u32 pid, std::span<const std::byte> value) {
  return symbolizer.user_stack(pid, stack_addresses(value));
}

std::vector<Frame> build_id_stack(Symbolizer& symbolizer, u32 pid, std::span<const std::byte> value) {
  return symbolizer.build_id_stack(pid, stack_build_ids(value));
}

void FoldedStacks::add_line(std::string line, u64 count) {
  u64& known = lines_[std::move(line)];
  known = count > std::numeric_limits<u64>::max() - known ? std::numeric_limits<u64>::max() : known + count;
}

void FoldedStacks::add(std::span<const std::string> innermost_first, u64 count) {
  std::string line;
  for (auto name = innermost_first.rbegin(); name != innermost_first.rend(); ++name)
    line.append(line.empty() ? "" : ";").append(folded_name(*name));
  add_line(line.empty() ? "[no stack]" : std::move(line), count);
}

void FoldedStacks::add(std::span<const Frame> innermost_first, u64 count) {
  std::vector<std::string> names;
  names.reserve(innermost_first.size());
  for (const Frame& frame : innermost_first) names.push_back(folded_text(frame));
  add(names, count);
}

std::string FoldedStacks::text() const {
  std::string text;
  for (const auto& [line, count] : lines_) text += fmt::format("{} {}\n", line, count);
  return text;
}

FoldedStacks FoldedStacks::parse(std::string_view text) {
  FoldedStacks stacks;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const auto space = line.rfind(' ');
    if (space == line.npos || space == 0) continue;
    u64 count = 0;
    const auto [stop, error] = std::from_chars(line.data() + space + 1, line.data() + line.size(), count);
    if (error != std::errc() || stop != line.data() + line.size() || count == 0) continue;
    stacks.add_line(std::string(line.substr(0, space)), count);
  }
  return stacks;
}

}  // namespace skep::symbols
