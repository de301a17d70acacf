// The parts of a text between occurrences of a character: lines, entries of a list. Empty ones are left out.
#pragma once
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace skep::base {

inline std::vector<std::string> split(std::string_view text, char at) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const auto end = std::min(text.find(at), text.size());
    if (end != 0) parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

}  // namespace skep::base
