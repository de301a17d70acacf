// Cells to text or JSON, and text that a terminal may be trusted with.
#include "kit/columns.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <ctime>

#include "base/json_writer.hpp"

namespace skep::tools {
namespace {

std::string as_text(const Cell& cell) {
  return std::visit(
      [](const auto& value) -> std::string {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, std::string>)
          return printable(value);
        else if constexpr (std::is_same_v<T, Decimal>)
          return fmt::format("{:.{}f}", value.value, value.digits);
        else
          return fmt::format("{}", value);
      },
      cell.value());
}

void as_json(base::JsonWriter& json, std::string_view key, const Cell& cell) {
  std::visit(
      [&](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, Decimal>) {
          json.key(key);
          json.raw(fmt::format("{:.{}f}", value.value, value.digits));
        } else {
          json.member(key, value);
        }
      },
      cell.value());
}

std::string align(std::string_view text, int width) {
  return width < 0 ? fmt::format("{:<{}}", text, -width) : fmt::format("{:>{}}", text, width);
}

std::string join(const std::vector<Column>& columns, bool commas, const auto& text_of) {
  std::string line;
  bool first = true;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (!columns[i].shown) continue;
    if (!first) line.push_back(commas ? ',' : ' ');
    first = false;
    std::string text = text_of(i);
    const auto width = static_cast<std::size_t>(std::abs(columns[i].width));
    if (columns[i].cut && !commas && text.size() > width) text.resize(width);
    line += commas ? text : align(text, columns[i].width);
  }
  while (!commas && line.ends_with(' ')) line.pop_back();
  return line;
}

/// Bytes of the UTF-8 sequence that begins here; 0 where none does.
std::size_t sequence_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t length = byte(0) < 0xc2 ? 0 : byte(0) < 0xe0 ? 2 : byte(0) < 0xf0 ? 3 : byte(0) < 0xf5 ? 4 : 0;
  if (length == 0 || length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  const bool is_c1_control = length == 2 && byte(0) == 0xc2 && byte(1) < 0xa0;
  const bool too_long = (byte(0) == 0xe0 && byte(1) < 0xa0) || (byte(0) == 0xf0 && byte(1) < 0x90);
  return is_c1_control || too_long ? 0 : length;
}

}  // namespace

void Columns::heading() {
  if (output_.json()) return;
  output_.line(join(columns_, commas_, [&](std::size_t i) { return std::string(columns_[i].title); }));
}

void Columns::row(const std::vector<Cell>& cells) {
  if (!output_.json()) {
    output_.line(join(columns_, commas_, [&](std::size_t i) { return i < cells.size() ? as_text(cells[i]) : ""; }));
    return;
  }
  base::JsonWriter json(false);
  json.begin_object();
  for (std::size_t i = 0; i < columns_.size() && i < cells.size(); ++i) as_json(json, columns_[i].key, cells[i]);
  json.end_object();
  output_.line(json.text());
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::size_t length = byte < 0x80 ? 0 : sequence_length(text.substr(i));
    if (length != 0) {
      out.append(text.substr(i, length));
      i += length;
      continue;
    }
    if (byte == '\n')
      out += "\\n";
    else if (byte == '\t')
      out += "\\t";
    else if (byte < 0x20 || byte >= 0x7f)
      out += fmt::format("\\x{:02x}", byte);
    else
      out.push_back(text[i]);
    ++i;
  }
  return out;
}

std::string clock_time() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::localtime_r(&now, &parts);
  return fmt::format("{:02}:{:02}:{:02}", parts.tm_hour, parts.tm_min, parts.tm_sec);
}

double seconds_since_start(u64 monotonic_ns) {
  static const u64 first = monotonic_ns;
  return monotonic_ns < first ? 0 : static_cast<double>(monotonic_ns - first) / 1e9;
}

}  // namespace skep::tools
