// Values of BTF types as columns.
#include "trace/fields.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "btf/format_value.hpp"

namespace skep::trace {
namespace {

bool is_struct(const btf::Type& type) { return type.kind == btf::Kind::struct_ && type.vlen > 0; }

/// One value as plain text: a JSON string loses its quotes unless something in it was escaped.
std::string value_text(const btf::Btf& types, u32 type_id, std::span<const std::byte> bytes) {
  auto text = btf::format_value(types, type_id, bytes);
  if (!text) return hex(bytes);
  const bool quoted = text->size() >= 2 && text->front() == '"' && text->back() == '"';
  if (quoted && text->find('\\') == std::string::npos) return text->substr(1, text->size() - 2);
  return std::move(*text);
}

/// A member that is not a bit-field, or the bit-field shifted into place, as text.
std::string member_text(const btf::Btf& types, const btf::Member& member, std::span<const std::byte> bytes) {
  if (member.bit_size == 0) {
    const u64 offset = member.bit_offset / 8;
    const auto size = types.size_of(member.type_id);
    if (!size || offset > bytes.size() || *size > bytes.size() - offset) return "?";
    return value_text(types, member.type_id, bytes.subspan(offset, *size));
  }
  u64 value = 0;
  for (u32 bit = 0; bit < member.bit_size && bit < 64; ++bit) {
    const u64 at = u64{member.bit_offset} + bit;
    if (at / 8 >= bytes.size()) return "?";
    value |= u64{(static_cast<u8>(bytes[at / 8]) >> (at % 8)) & 1u} << bit;
  }
  return std::to_string(value);
}

}  // namespace

std::string hex(std::span<const std::byte> bytes) {
  std::string text;
  for (const auto byte : bytes) text += fmt::format("{}{:02x}", text.empty() ? "" : " ", static_cast<unsigned>(byte));
  return text;
}

std::vector<std::string> column_names(const btf::Btf& types, u32 type_id, std::string_view fallback) {
  const auto type = types.type(types.resolve(type_id));
  if (!is_struct(type)) return {std::string(fallback)};
  std::vector<std::string> names;
  for (const auto& member : types.members(type)) names.emplace_back(member.name.empty() ? "-" : member.name);
  return names;
}

std::vector<std::string> column_texts(const btf::Btf& types, u32 type_id, std::span<const std::byte> bytes) {
  const auto type = types.type(types.resolve(type_id));
  if (!is_struct(type)) return {value_text(types, type_id, bytes)};
  std::vector<std::string> texts;
  for (const auto& member : types.members(type)) texts.push_back(member_text(types, member, bytes));
  return texts;
}

std::vector<std::string> Table::lines(std::string_view indent) const {
  std::vector<std::size_t> widths;
  for (const auto& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::vector<std::string> lines;
  for (const auto& row : rows_) {
    std::string line(indent);
    for (std::size_t i = 0; i < row.size(); ++i)
      line += i + 1 == row.size() ? row[i] : fmt::format("{:<{}}  ", row[i], widths[i]);
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace skep::trace
