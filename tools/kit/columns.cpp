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
