// Reads the cases of `skep test`. See test_cases.hpp.
#include "test_cases.hpp"

#include <fmt/format.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <charconv>
#include <sstream>

#include "base/mapped_file.hpp"

namespace skep::tools {
namespace {

struct VerdictName {
  u32 program_type;
  std::string_view name;
  u64 value;
};
constexpr VerdictName verdicts[] = {
    {BPF_PROG_TYPE_XDP, "XDP_ABORTED", XDP_ABORTED},
    {BPF_PROG_TYPE_XDP, "XDP_DROP", XDP_DROP},
    {BPF_PROG_TYPE_XDP, "XDP_PASS", XDP_PASS},
    {BPF_PROG_TYPE_XDP, "XDP_TX", XDP_TX},
    {BPF_PROG_TYPE_XDP, "XDP_REDIRECT", XDP_REDIRECT},
    {BPF_PROG_TYPE_SCHED_CLS, "TC_ACT_OK", TC_ACT_OK},
    {BPF_PROG_TYPE_SCHED_CLS, "TC_ACT_RECLASSIFY", TC_ACT_RECLASSIFY},
    {BPF_PROG_TYPE_SCHED_CLS, "TC_ACT_SHOT", TC_ACT_SHOT},
    {BPF_PROG_TYPE_SCHED_CLS, "TC_ACT_PIPE", TC_ACT_PIPE},
    {BPF_PROG_TYPE_SCHED_CLS, "TC_ACT_STOLEN", TC_ACT_STOLEN},
    {BPF_PROG_TYPE_SCHED_CLS, "TC_ACT_REDIRECT", TC_ACT_REDIRECT},
    {BPF_PROG_TYPE_SK_MSG, "SK_DROP", SK_DROP},
    {BPF_PROG_TYPE_SK_MSG, "SK_PASS", SK_PASS},
    {BPF_PROG_TYPE_SK_LOOKUP, "SK_DROP", SK_DROP},
    {BPF_PROG_TYPE_SK_LOOKUP, "SK_PASS", SK_PASS},
    {BPF_PROG_TYPE_SK_REUSEPORT, "SK_DROP", SK_DROP},
    {BPF_PROG_TYPE_SK_REUSEPORT, "SK_PASS", SK_PASS},
};

constexpr std::size_t most_bytes = 1u << 20;

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

/// "word" and the rest of the line.
std::pair<std::string_view, std::string_view> split(std::string_view line) {
  const auto end = std::min(line.find_first_of(" \t"), line.size());
  return {line.substr(0, end), trimmed(line.substr(end))};
}

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// NAME KEY = VALUE
Result<MapEntry> read_entry(std::string_view text) {
  const auto [name, rest] = split(text);
  const auto equals = rest.find('=');
  if (name.empty() || equals == std::string_view::npos)
    return fail(Code::malformed, "expected MAP KEY = VALUE, for example: counters 00000000 = 01000000");
  MapEntry entry;
  entry.map = name;
  entry.key = SKEP_TRY_AT("key", read_bytes(trimmed(rest.substr(0, equals))));
  const auto value = trimmed(rest.substr(equals + 1));
  if (value != "none") entry.value = SKEP_TRY_AT("value", read_bytes(value));
  return entry;
}

Result<void> read_line(std::string_view word, std::string_view rest, TestCase& c) {
  if (word == "program")
    c.program = rest;
  else if (word == "packet")
    c.packet = SKEP_TRY(read_bytes(rest));
  else if (word == "context")
    c.context = SKEP_TRY(read_bytes(rest));
  else if (word == "set")
    c.before.push_back(SKEP_TRY(read_entry(rest)));
  else if (word == "map")
    c.after.push_back(SKEP_TRY(read_entry(rest)));
  else if (word == "result")
    c.result = SKEP_TRY(read_result(rest));
  else if (word == "output")
    c.output = SKEP_TRY(read_bytes(rest));
  else if (word == "context_after")
    c.context_after = SKEP_TRY(read_bytes(rest));
  else
    return fail(
        Code::malformed,
        fmt::format("'{}' is none of case, program, packet, context, set, result, output, context_after, map", word));
  if (word == "set" && !c.before.back().value) return fail(Code::malformed, "set needs a value, not none");
  return {};
}

}  // namespace

Result<Bytes> read_bytes(std::string_view text) {
  if (text.starts_with('@')) return base::read_file(std::string(text.substr(1)));
  if (const auto [word, count] = split(text); word == "zeroes") {
    std::size_t n = 0;
    const auto parsed = std::from_chars(count.data(), count.data() + count.size(), n);
    if (parsed.ec != std::errc() || parsed.ptr != count.data() + count.size() || n > most_bytes)
      return fail(Code::malformed, fmt::format("'zeroes {}': expected a number of bytes up to {}", count, most_bytes));
    return Bytes(n);
  }
  Bytes bytes;
  int high = -1;
  for (const char c : text) {
    if (c == ' ' || c == '\t' || c == ':') continue;
    const int digit = digit_of(c);
    if (digit < 0)
      return fail(Code::malformed, fmt::format("'{}' is no hexadecimal digit; expected bytes like 00ff12, @FILE, or "
                                               "zeroes N",
                                               c));
    if (high >= 0) bytes.push_back(static_cast<std::byte>(high << 4 | digit));
    high = high >= 0 ? -1 : digit;
  }
  if (high >= 0) return fail(Code::malformed, "an odd number of hexadecimal digits: a byte has two");
  return bytes;
}

Result<u64> read_result(std::string_view text) {
  for (const auto& verdict : verdicts)
    if (verdict.name == text) return verdict.value;
  const bool negative = text.starts_with('-');
  const bool hex = text.substr(negative ? 1 : 0).starts_with("0x");
  const auto digits = text.substr((negative ? 1u : 0u) + (hex ? 2u : 0u));
  u64 value = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, hex ? 16 : 10);
  if (digits.empty() || parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size())
    return fail(Code::malformed, fmt::format("'{}' is no result: expected a number or a verdict's name (XDP_PASS, "
                                             "TC_ACT_SHOT)",
                                             text));
  return negative ? 0 - value : value;
}

std::string_view verdict_name(u32 program_type, u64 result) {
  for (const auto& verdict : verdicts)
    if (verdict.program_type == program_type && verdict.value == result) return verdict.name;
  return "";
}

Result<std::vector<TestCase>> read_test_cases(const std::string& path) {
  const auto bytes = SKEP_TRY(base::read_file(path));
  std::istringstream in(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  std::vector<TestCase> cases;
  std::string line;
  for (u32 number = 1; std::getline(in, line); number++) {
    const auto [word, rest] = split(trimmed(std::string_view(line).substr(0, line.find('#'))));
    if (word.empty()) continue;
    const std::string place = fmt::format("{}:{}", path, number);
    if (word == "case") {
      cases.push_back({.name = std::string(rest)});
      continue;
    }
    if (cases.empty()) return fail(Code::malformed, place + ": expected 'case NAME' first");
    SKEP_TRY_AT(place, read_line(word, rest, cases.back()));
  }
  if (cases.empty()) return fail(Code::malformed, path + ": holds no case; one begins with 'case NAME'");
  return cases;
}

}  // namespace skep::tools
