// See printable.hpp.
#include "base/printable.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <skep/types.hpp>

namespace skep::base {

std::size_t utf8_length(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<u8>(text[i]); };
  const u8 first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xc2 && first < 0xe0   ? 2
                             : first >= 0xe0 && first < 0xf0 ? 3
                             : first >= 0xf0 && first < 0xf5 ? 4
                                                             : 0;
  if (length == 0 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  const bool overlong = (first == 0xe0 && byte(1) < 0xa0) || (first == 0xf0 && byte(1) < 0x90);
  const bool outside = (first == 0xed && byte(1) >= 0xa0) || (first == 0xf4 && byte(1) >= 0x90);
  return overlong || outside ? 0 : length;
}

bool begins_with_control(std::string_view text) noexcept {
  const auto first = static_cast<u8>(text[0]);
  if (first < 0x20 || first == 0x7f) return true;
  return first == 0xc2 && text.size() > 1 && static_cast<u8>(text[1]) < 0xa0;
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = begins_with_control(text) ? 0 : utf8_length(text);
    if (length != 0)
      out += text.substr(0, length);
    else if (text[0] == '\n')
      out += "\\n";
    else if (text[0] == '\t')
      out += "\\t";
    else
      out += fmt::format("\\x{:02x}", static_cast<u8>(text[0]));
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

std::string printable_text(std::string text) {
  // All of the kernel's types as C have 4 MB, and nothing in them to escape.
  const auto is_plain = [](char c) { return (c >= 0x20 && c < 0x7f) || c == '\n' || c == '\t'; };
  if (std::ranges::all_of(text, is_plain)) return text;
  std::string out;
  for (std::string_view rest = text; !rest.empty();) {
    const auto end = std::min(rest.find_first_of("\n\t"), rest.size());
    out += printable(rest.substr(0, end));
    out += rest.substr(end, 1);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return out;
}

}  // namespace skep::base
