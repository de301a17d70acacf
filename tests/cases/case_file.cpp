// Reading case files line by line, and writing blessed expectations back.
#include "case_file.hpp"

#include <fmt/format.h>

#include <charconv>
#include <sstream>

#include "base/mapped_file.hpp"

namespace skep::cases {
namespace {

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

/// The first word; `rest` becomes what follows.
std::string_view take_word(std::string_view& rest) {
  rest = trimmed(rest);
  const auto end = std::min(rest.find_first_of(" \t"), rest.size());
  const auto word = rest.substr(0, end);
  rest = trimmed(rest.substr(end));
  return word;
}

Result<std::vector<std::byte>> hex_bytes(std::string_view text) {
  std::vector<std::byte> out;
  std::string digits;
  for (const char c : text)
    if (c != ' ') digits += c;
  if (digits.size() % 2 != 0) return fail(Code::malformed, "bytes in hex come in pairs of digits");
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    unsigned value = 0;
    const auto [stop, error] = std::from_chars(&digits[i], &digits[i] + 2, value, 16);
    if (error != std::errc() || stop != &digits[i] + 2)
      return fail(Code::malformed, fmt::format("'{}' is no byte in hex", digits.substr(i, 2)));
    out.push_back(static_cast<std::byte>(value));
  }
  return out;
}

Result<ProgramType> type_named(std::string_view name) {
#define SKEP_PROGRAM_TYPE(type, number, printed, since) \
  if (name == #type) return ProgramType::type;
#include <skep/tables/program_types.def>
#undef SKEP_PROGRAM_TYPE
  return fail(Code::malformed, fmt::format("there is no program type '{}'", name));
}

/// `name bytes`: global data.
Result<MapSpec> data_map(std::string_view rest) {
  MapSpec map;
  map.name = take_word(rest);
  map.type = MapType::array;
  map.key_size = 4;
  map.initial_value = SKEP_TRY(hex_bytes(rest));
  map.value_size = static_cast<u32>(map.initial_value.size());
  map.max_entries = 1;
  map.is_global_data = true;
  return map;
}

/// `name type key value entries`.
Result<MapSpec> declared_map(std::string_view rest) {
  MapSpec map;
  map.name = take_word(rest);
  const auto type = take_word(rest);
#define SKEP_MAP_TYPE(row, number, printed, since) \
  if (type == #row) map.type = MapType::row;
#include <skep/tables/map_types.def>
#undef SKEP_MAP_TYPE
  if (map.type == MapType::unspec) return fail(Code::malformed, fmt::format("there is no map type '{}'", type));
  if (std::sscanf(std::string(rest).c_str(), "%u %u %u", &map.key_size, &map.value_size, &map.max_entries) != 3)
    return fail(Code::malformed, "a map is 'name type key_bytes value_bytes entries'");
  if (map.type == MapType::arena) map.flags = map_flag::mmapable;  // it is made for sharing
  return map;
}

Result<void> read_directive(std::string_view rest, Case& c) {
  const auto word = take_word(rest);
  if (word == "name") {
    c.name = rest;
  } else if (word == "type") {
    c.type = SKEP_TRY(type_named(rest));
  } else if (word == "data") {
    c.maps.push_back(SKEP_TRY(data_map(rest)));
  } else if (word == "map") {
    c.maps.push_back(SKEP_TRY(declared_map(rest)));
  } else if (word == "packet") {
    c.packet = SKEP_TRY(hex_bytes(rest));
  } else if (word == "memory") {
    c.memory = SKEP_TRY(hex_bytes(rest));
  } else if (word == "kernel") {
    if (std::sscanf(std::string(rest).c_str(), "%d.%d", &c.kernel.first, &c.kernel.second) != 2)
      return fail(Code::malformed, "kernel wants a version such as 6.15");
  } else if (word == "except") {
    const auto colon = rest.find(':');
    if (colon == std::string_view::npos) return fail(Code::malformed, "except wants 'engine: reason'");
    c.except.emplace_back(trimmed(rest.substr(0, colon)), trimmed(rest.substr(colon + 1)));
  } else {
    return fail(Code::malformed, fmt::format("unknown directive ';! {}'", word));
  }
  return {};
}

Result<void> read_expectation(std::string_view rest, Case& c) {
  const auto word = take_word(rest);
  if (word != "result" || !rest.starts_with("0x")) return fail(Code::malformed, "an expectation is ';= result 0x...'");
  u64 value = 0;
  const auto [stop, error] = std::from_chars(rest.data() + 2, rest.data() + rest.size(), value, 16);
  if (error != std::errc() || stop != rest.data() + rest.size())
    return fail(Code::malformed, fmt::format("'{}' is no 64-bit number", rest));
  c.result = value;
  return {};
}

Result<void> read_line(CaseFile& file, std::size_t number) {
  std::string_view line = trimmed(file.lines[number]);
  if (line.starts_with(";!")) {
    std::string_view rest = line.substr(2);
    std::string_view peek = rest;
    const auto word = take_word(peek);
    if (word == "run" || word == "reject") {
      if (!file.cases.empty()) file.cases.back().end_line = number;
      Case c;
      c.first_line = number;
      c.name = fmt::format("line {}", number + 1);
      c.raw = word == "run" && peek == "raw";
      if (word == "run" && !peek.empty() && !c.raw) return fail(Code::malformed, "after run comes nothing or raw");
      c.expects_rejection = word == "reject";
      if (c.expects_rejection) c.rejection = peek;
      file.cases.push_back(std::move(c));
      return {};
    }
    if (file.cases.empty()) return fail(Code::malformed, "a case begins with ';! run' or ';! reject'");
    return read_directive(rest, file.cases.back());
  }
  if (file.cases.empty()) return {};
  if (line.starts_with(";=")) return read_expectation(line.substr(2), file.cases.back());
  file.cases.back().assembly += file.lines[number];
  file.cases.back().assembly += '\n';
  return {};
}

}  // namespace

const std::string* Case::left_out_by(std::string_view engine) const {
  for (const auto& [left_out, reason] : except)
    if (left_out == engine) return &reason;
  return nullptr;
}

Result<CaseFile> CaseFile::read(const std::string& path) {
  CaseFile file;
  file.path = path;
  std::istringstream text(SKEP_TRY(base::read_text(path)));
  for (std::string line; std::getline(text, line);) file.lines.push_back(line);
  for (std::size_t i = 0; i < file.lines.size(); i++)
    SKEP_TRY_AT(fmt::format("{}:{}", path, i + 1), read_line(file, i));
  if (!file.cases.empty()) file.cases.back().end_line = file.lines.size();
  return file;
}

Result<void> CaseFile::write_blessed() {
  std::string out;
  std::size_t line = 0;
  const auto copy_until = [&](std::size_t end) {
    for (; line < end; line++)
      if (!trimmed(lines[line]).starts_with(";=")) out += lines[line] + "\n";
  };
  for (const Case& c : cases) {
    copy_until(c.first_line);
    if (c.expects_rejection) {
      out += fmt::format(";! reject {}\n", c.rejection);
      line++;
    }
    // The expectation stands behind the last instruction, before blank lines and the next case's comments.
    std::size_t last = c.first_line;
    for (std::size_t i = c.first_line; i < c.end_line; i++)
      if (const auto text = trimmed(lines[i]); !text.empty() && (text[0] != ';' || text.starts_with(";!"))) last = i;
    copy_until(last + 1);
    if (!c.expects_rejection && c.result) out += fmt::format(";= result {:#x}\n", *c.result);
  }
  copy_until(lines.size());
  return base::write_file_atomic(path, std::as_bytes(std::span(out)));
}

}  // namespace skep::cases
