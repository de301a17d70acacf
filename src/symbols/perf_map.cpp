// Parsing and searching a perf map. See perf_map.hpp.
#include "symbols/perf_map.hpp"

#include <algorithm>
#include <charconv>
#include <limits>

namespace skep::symbols {

namespace {

constexpr std::size_t most_entries = 4u << 20;
constexpr std::size_t longest_name = 16384;
constexpr std::size_t most_steps_back = 64;

/// A hexadecimal number, with or without 0x, and the blanks behind it.
bool take_hex(std::string_view& text, u64& value) {
  if (text.starts_with("0x") || text.starts_with("0X")) text.remove_prefix(2);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  const auto used = static_cast<std::size_t>(end - text.data());
  if (error != std::errc() || used >= text.size() || text[used] != ' ') return false;
  text.remove_prefix(std::min(text.find_first_not_of(' ', used), text.size()));
  return true;
}

}  // namespace

PerfMap::PerfMap(std::string_view text) {
  while (!text.empty() && entries_.size() < most_entries) {
    const auto end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    u64 address = 0, size = 0;
    if (!take_hex(line, address) || !take_hex(line, size) || line.empty() || size == 0) continue;
    line = line.substr(0, longest_name);
    if (names_.size() + line.size() > std::numeric_limits<u32>::max()) break;
    entries_.push_back({address, static_cast<u32>(std::min<u64>(size, std::numeric_limits<u32>::max())),
                        static_cast<u32>(names_.size()), static_cast<u32>(line.size()),
                        static_cast<u32>(entries_.size())});
    names_.append(line);
  }
  std::ranges::sort(entries_, [](const Entry& a, const Entry& b) {
    return a.address != b.address ? a.address < b.address : a.line > b.line;
  });
  const auto same = [](const Entry& a, const Entry& b) { return a.address == b.address; };
  entries_.erase(std::unique(entries_.begin(), entries_.end(), same), entries_.end());
}

std::optional<PerfMap::Found> PerfMap::find(u64 address) const {
  auto at = std::upper_bound(entries_.begin(), entries_.end(), address,
                             [](u64 wanted, const Entry& entry) { return wanted < entry.address; });
  const Entry* newest = nullptr;
  for (std::size_t steps = 0; at != entries_.begin() && steps < most_steps_back; ++steps) {
    --at;
    if (address - at->address < at->size && (newest == nullptr || at->line > newest->line)) newest = &*at;
  }
  if (newest == nullptr) return std::nullopt;
  return Found{std::string_view(names_).substr(newest->name, newest->name_size), address - newest->address};
}

}  // namespace skep::symbols
