// Parsing /proc/PID/maps: "55d0-55d4 r-xp 00002000 fe:01 1234   /usr/bin/cat".
#include "symbols/process_maps.hpp"

#include <algorithm>
#include <charconv>

namespace skep::symbols {

namespace {

/// Takes a number and the character behind it off the front of `text`.
bool take_number(std::string_view& text, u64& value, int base, char behind) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end == text.data() + text.size() || *end != behind) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()) + 1);
  return true;
}

/// The kernel writes a newline in a name as \012 and leaves everything else as it is.
std::string unescaped(std::string_view text) {
  std::string path;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text.substr(i, 4) == "\\012") {
      path.push_back('\n');
      i += 3;
    } else {
      path.push_back(text[i]);
    }
  }
  return path;
}

bool parse_line(std::string_view line, Mapping& mapping) {
  u64 major = 0, minor = 0;
  if (!take_number(line, mapping.begin, 16, '-') || !take_number(line, mapping.end, 16, ' ')) return false;
  if (mapping.begin >= mapping.end || line.size() < 5 || line[4] != ' ') return false;
  mapping.writable = line[1] == 'w', mapping.executable = line[2] == 'x', mapping.shared = line[3] == 's';
  line.remove_prefix(5);
  if (!take_number(line, mapping.file_offset, 16, ' ') || !take_number(line, major, 16, ':') ||
      !take_number(line, minor, 16, ' '))
    return false;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), mapping.inode, 10);
  if (error != std::errc()) return false;
  line.remove_prefix(static_cast<std::size_t>(end - line.data()));
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  constexpr std::string_view gone = " (deleted)";
  mapping.deleted = line.ends_with(gone);
  if (mapping.deleted) line.remove_suffix(gone.size());
  mapping.device_major = static_cast<u32>(major);
  mapping.device_minor = static_cast<u32>(minor);
  mapping.path = unescaped(line);
  return true;
}

}  // namespace

std::vector<Mapping> parse_maps(std::string_view text, std::size_t most) {
  std::vector<Mapping> mappings;
  while (!text.empty() && mappings.size() < most) {
    const auto end = std::min(text.find('\n'), text.size());
    Mapping mapping;
    if (parse_line(text.substr(0, end), mapping) && (mappings.empty() || mapping.begin >= mappings.back().end))
      mappings.push_back(std::move(mapping));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return mappings;
}

const Mapping* mapping_of(const std::vector<Mapping>& mappings, u64 address) noexcept {
  const auto behind = std::upper_bound(mappings.begin(), mappings.end(), address,
                                       [](u64 wanted, const Mapping& mapping) { return wanted < mapping.begin; });
  if (behind == mappings.begin() || address >= std::prev(behind)->end) return nullptr;
  return &*std::prev(behind);
}

}  // namespace skep::symbols
