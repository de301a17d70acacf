// Words of attach targets.
#pragma once
#include <charconv>
#include <optional>
#include <skep/types.hpp>
#include <string_view>

namespace skep::base {

/// A number, decimal or 0x hexadecimal, that is the whole text.
inline std::optional<u64> whole_number(std::string_view text) {
  const bool is_hexadecimal = text.starts_with("0x");
  if (is_hexadecimal) text.remove_prefix(2);
  u64 value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value, is_hexadecimal ? 16 : 10);
  if (text.empty() || error != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Whether a name stands for several, as fnmatch(3) has it: "tcp_*".
constexpr bool is_pattern(std::string_view name) noexcept { return name.find_first_of("*?[") != name.npos; }

}  // namespace skep::base
