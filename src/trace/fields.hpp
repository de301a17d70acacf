// A typed value as named text fields: what columns are made of.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "btf/btf.hpp"

namespace skep::trace {

struct Field {
  std::string name;
  std::string text;
};

/// Names of the columns that a type has: the members of a struct, or `fallback` for anything else.
std::vector<std::string> column_names(const btf::Btf& types, u32 type_id, std::string_view fallback);

/// The texts of those columns. Strings without quotes, nested structs and arrays as one-line JSON, bytes in hex
/// where the types do not fit. Always as many as column_names() gives.
std::vector<std::string> column_texts(const btf::Btf& types, u32 type_id, std::span<const std::byte> bytes);

/// Bytes as "0a 0b".
std::string hex(std::span<const std::byte> bytes);

/// Rows under a heading, columns as wide as their longest text, two spaces between, the last one ragged.
class Table {
 public:
  explicit Table(std::vector<std::string> names) : rows_{std::move(names)} {}
  void row(std::vector<std::string> texts) { rows_.push_back(std::move(texts)); }
  std::size_t size() const { return rows_.size() - 1; }
  /// Lines, each with `indent` in front.
  std::vector<std::string> lines(std::string_view indent) const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace skep::trace
