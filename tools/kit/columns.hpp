// Rows of a tool: columns for people, one JSON object a line for programs.
#pragma once
#include <initializer_list>
#include <skep/types.hpp>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/printable.hpp"
#include "trace/output.hpp"

namespace skep::tools {

struct Column {
  std::string_view title;
  std::string_view key;  ///< in JSON
  int width = 0;         ///< characters; negative: to the left; 0: as long as it is
  bool shown = true;     ///< JSON has every column
  bool cut = false;      ///< longer texts end at the width
};

/// A number with so many decimals.
struct Decimal {
  double value;
  int digits;
};

/// One field of a row.
class Cell {
 public:
  template <class T>
    requires std::is_integral_v<T>
  Cell(T number) {
    if constexpr (std::is_signed_v<T>)
      value_ = static_cast<s64>(number);
    else
      value_ = static_cast<u64>(number);
  }
  Cell(Decimal number) : value_(number) {}
  Cell(std::string text) : value_(std::move(text)) {}
  Cell(std::string_view text) : value_(std::string(text)) {}
  Cell(const char* text) : value_(std::string(text)) {}
  const auto& value() const { return value_; }

 private:
  std::variant<s64, u64, Decimal, std::string> value_;
};

class Columns {
 public:
  Columns(trace::Output& output, std::vector<Column> columns) : output_(output), columns_(std::move(columns)) {}
  /// The titles; nothing in JSON.
  void heading();
  /// One cell a column, hidden ones included.
  void row(std::initializer_list<Cell> cells) { row(std::vector<Cell>(cells)); }
  void row(const std::vector<Cell>& cells);
  /// Fields separated by commas instead of aligned.
  void separate_by_commas() { commas_ = true; }

 private:
  trace::Output& output_;
  std::vector<Column> columns_;
  bool commas_ = false;
};

/// A char array of a record as far as its first zero.
template <std::size_t N>
std::string_view text(const char (&array)[N]) {
  std::string_view all(array, N);
  return all.substr(0, all.find('\0'));
}

using base::printable;

/// "14:03:59", of now.
std::string clock_time();
/// Seconds since the first call, for columns of time stamps.
double seconds_since_start(u64 monotonic_ns);

}  // namespace skep::tools
