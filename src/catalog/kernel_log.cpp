// Reading from the end.
#include "catalog/kernel_log.hpp"

#include <algorithm>
#include <charconv>

namespace skep::catalog {
namespace {

constexpr std::size_t longest_log = 1u << 20, longest_line = 4096, most_lines = 20'000;

bool is_statistics(std::string_view line) {
  for (std::string_view begins :
       {"processed ", "insns processed ", "verification time ", "stack depth ", "max_states", "mark_precise"})
    if (line.starts_with(begins)) return true;
  return line.find_first_not_of('\0') == std::string_view::npos;
}

/// Takes the last line off.
std::string_view take_line(std::string_view& log) {
  if (log.back() == '\n') log.remove_suffix(1);
  const auto before = log.rfind('\n');
  const std::string_view line = before == std::string_view::npos ? log : log.substr(before + 1);
  log = before == std::string_view::npos ? std::string_view() : log.substr(0, before + 1);
  return line.substr(0, longest_line);
}

std::string_view end_of(std::string_view log) {
  return log.size() > longest_log ? log.substr(log.size() - longest_log) : log;
}

}  // namespace

std::vector<std::string_view> lines_of_kernel_log(std::string_view log) {
  log = end_of(log);
  std::vector<std::string_view> lines;
  while (!log.empty() && lines.size() < most_lines) {
    const std::string_view line = take_line(log);
    if (!lines.empty() || !is_statistics(line)) lines.push_back(line);
  }
  std::ranges::reverse(lines);
  return lines;
}

std::string_view reason_in_kernel_log(std::string_view log) {
  for (log = end_of(log); !log.empty();)
    if (const std::string_view line = take_line(log); !is_statistics(line)) return line;
  return {};
}

std::optional<u32> insn_of_kernel_line(std::string_view line) noexcept {
  u32 insn = 0;
  const auto parsed = std::from_chars(line.data(), line.data() + line.size(), insn);
  if (parsed.ec != std::errc() || parsed.ptr == line.data()) return std::nullopt;
  const std::string_view rest(parsed.ptr, static_cast<std::size_t>(line.data() + line.size() - parsed.ptr));
  return rest.starts_with(": (") ? std::optional<u32>(insn) : std::nullopt;
}

}  // namespace skep::catalog
