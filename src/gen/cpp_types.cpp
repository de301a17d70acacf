// Layout beside text: a Writer keeps the bit where the compiler stands after each member.
// Source: System V ABI for x86-64 and AAPCS64 on members, padding and bit-fields (they agree on what is used here).
#include "gen/cpp_types.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "btf/dump_c.hpp"

namespace skep::gen {
namespace {

constexpr u32 deepest = 64;

u64 rounded_up(u64 value, u64 to) { return (value + to - 1) / to * to; }

std::string tabs(u32 indent) { return std::string(std::size_t{2} * indent, ' '); }

/// "skep::u32"; "" where C++ has no such number.
std::string number(u64 size, bool is_signed) {
  if (size == 16) return is_signed ? "__int128" : "unsigned __int128";
  if (size != 1 && size != 2 && size != 4 && size != 8) return {};
  return fmt::format("skep::{}{}", is_signed ? 's' : 'u', size * 8);
}

std::string enumerator_value(s64 value, bool is_signed) {
  if (!is_signed) return fmt::format("{}{}", static_cast<u64>(value), static_cast<u64>(value) >> 32 != 0 ? "ULL" : "U");
  if (value == INT64_MIN) return "-9223372036854775807LL - 1";
  return fmt::format("{}{}", value, value > INT32_MAX || value <= INT32_MIN ? "LL" : "");
}

bool fits(s64 value, u64 size, bool is_signed) {
  if (size >= 8) return true;
  const s64 limit = s64{1} << (size * 8 - (is_signed ? 1 : 0));
  return value < limit && value >= (is_signed ? -limit : 0);
}

}  // namespace

std::string cpp_identifier(std::string_view text) {
  static const std::unordered_set<std::string_view> reserved = {"alignas",
                                                                "alignof",
                                                                "and",
                                                                "and_eq",
                                                                "asm",
                                                                "assert",
                                                                "auto",
                                                                "bitand",
                                                                "bitor",
                                                                "bool",
                                                                "break",
                                                                "case",
                                                                "catch",
                                                                "char",
                                                                "char16_t",
                                                                "char32_t",
                                                                "char8_t",
                                                                "class",
                                                                "co_await",
                                                                "co_return",
                                                                "co_yield",
                                                                "compl",
                                                                "concept",
                                                                "const",
                                                                "const_cast",
                                                                "consteval",
                                                                "constexpr",
                                                                "constinit",
                                                                "continue",
                                                                "decltype",
                                                                "default",
                                                                "delete",
                                                                "do",
                                                                "double",
                                                                "dynamic_cast",
                                                                "else",
                                                                "enum",
                                                                "errno",
                                                                "explicit",
                                                                "export",
                                                                "extern",
                                                                "false",
                                                                "float",
                                                                "for",
                                                                "friend",
                                                                "goto",
                                                                "i386",
                                                                "if",
                                                                "inline",
                                                                "int",
                                                                "linux",
                                                                "long",
                                                                "mutable",
                                                                "namespace",
                                                                "new",
                                                                "noexcept",
                                                                "not",
                                                                "not_eq",
                                                                "nullptr",
                                                                "operator",
                                                                "or",
                                                                "or_eq",
                                                                "private",
                                                                "protected",
                                                                "public",
                                                                "register",
                                                                "reinterpret_cast",
                                                                "requires",
                                                                "return",
                                                                "short",
                                                                "signed",
                                                                "sizeof",
                                                                "skep",
                                                                "static",
                                                                "static_assert",
                                                                "static_cast",
                                                                "std",
                                                                "stderr",
                                                                "stdin",
                                                                "stdout",
                                                                "struct",
                                                                "switch",
                                                                "template",
                                                                "this",
                                                                "thread_local",
                                                                "throw",
                                                                "true",
                                                                "try",
                                                                "typedef",
                                                                "typeid",
                                                                "typename",
                                                                "typeof",
                                                                "union",
                                                                "unix",
                                                                "unsigned",
                                                                "using",
                                                                "virtual",
                                                                "void",
                                                                "volatile",
                                                                "wchar_t",
                                                                "while",
                                                                "xor",
                                                                "xor_eq",
                                                                "NULL",
                                                                "EOF"};
  std::string out;
  for (const char c : text) out += (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ? c : '_';
  if (out.empty() || (out[0] >= '0' && out[0] <= '9')) out.insert(0, 1, '_');
  return reserved.contains(out) ? out + '_' : out;
}

std::string CppTypes::unique(std::string_view wanted) {
  const std::string base = cpp_identifier(wanted);
  std::string out = base;
  for (u32 i = 2; !taken_.insert(out).second; i++) out = fmt::format("{}_{}", base, i);
  return out;
}

/// The members written so far, and the bit the compiler has reached.
class CppTypes::Writer {
 public:
  Writer(Frame frame, bool is_union) : frame_(frame), is_union_(is_union) {}

  std::string name(std::string_view wanted) {
    const std::string base = cpp_identifier(wanted);
    std::string out = base;
    for (u32 i = 2; !frame_.names->insert(out).second; i++) out = fmt::format("{}_{}", base, i);
    return out;
  }
  void line(std::string_view text, std::string_view comment = {}) {
    body += tabs(frame_.indent) + std::string(text) + ";";
    if (!comment.empty()) body += fmt::format("  ///< {}", comment);
    body += '\n';
  }
  /// From where the compiler stands to `bit`.
  void pad(u64 bit) {
    const auto bits_to = [&](u64 border) {
      if (border > at) line(fmt::format("skep::u8 : {}", border - at));
      at = std::max(at, border);
    };
    if (at % 8 != 0) bits_to(std::min(bit, rounded_up(at, 8)));
    if (bit / 8 > at / 8) line(fmt::format("unsigned char {}[{}]", name("_pad"), bit / 8 - at / 8));
    at = std::max(at, bit / 8 * 8);
    bits_to(bit);
  }
  void reach(u64 bit, u64 align_bytes) {
    end = std::max(end, bit);
    at = is_union_ ? 0 : bit;
    align = std::max(align, align_bytes);
  }

  std::string body;
  u64 at = 0;   ///< bits
  u64 end = 0;  ///< bits, of the largest member
  u64 align = 1;

 private:
  Frame frame_;
  bool is_union_;
};

bool CppTypes::add_bits(Writer& out, const Field& field, const Shape& shape, const Spelled& type,
                        const std::string& name) {
  // Enumerations as bit-fields draw warnings about their range: the number of the same size has the same layout.
  const bool is_bool = type.base == "bool";
  const auto base = is_bool || type.base.starts_with("skep::s") ? type.base : number(type.size, false);
  const u64 unit = type.size * 8;
  if (base.empty() || unit > 64 || !type.suffix.empty() || field.bit_size > unit || (is_bool && field.bit_size != 1))
    return false;
  if (!shape.packed && field.bit_offset / unit != (field.bit_offset + field.bit_size - 1) / unit) return false;
  if (field.bit_offset > out.at) out.pad(field.bit_offset);
  out.line(fmt::format("{} {} : {}", base, name, field.bit_size), type.comment);
  out.reach(field.bit_offset + field.bit_size, shape.packed ? 1 : type.size);
  return true;
}

/// False where this shape cannot place the member.
bool CppTypes::add_field(Writer& out, const Field& field, const Shape& shape, Frame frame) {
  if (budget_ == 0 || --budget_ == 0 || field.bit_offset < out.at) return false;
  if (shape.is_union && field.bit_offset != 0) return false;
  const u32 resolved = btf_.resolve(field.type_id);
  const auto t = btf_.type(resolved);
  Frame inside{frame.indent + 1, frame.depth + 1, frame.names};
  std::set<std::string> own_names;
  if (!field.name.empty()) inside.names = &own_names;
  const auto size = btf_.size_of(field.type_id);
  if (!size) return false;
  if (*size == 0) return true;  // a flexible array: what it holds lies behind the struct
  std::optional<Spelled> type;
  const bool unnamed_record = btf::is_composite(t.kind) && t.name.empty() && resolved == field.type_id;
  if (unnamed_record || field.name.empty()) {
    if (!btf::is_composite(t.kind)) return false;
    type = inline_record(t, inside);
  } else {
    type = spell(field.type_id, field.name, inside);
  }
  if (!type && field.name.empty()) return false;
  if (!type) type = Spelled{"unsigned char", fmt::format("[{}]", *size), *size, 1, {}};
  const std::string name = field.name.empty() ? std::string() : out.name(field.name);
  if (field.bit_size != 0) return add_bits(out, field, shape, *type, name);
  const u64 align = shape.packed ? 1 : type->align;
  if (field.bit_offset % (8 * align) != 0) return false;
  if (!shape.is_union && rounded_up(out.at, 8 * align) != field.bit_offset) out.pad(field.bit_offset);
  out.line(fmt::format("{}{}{}{}", type->base, name.empty() ? "" : " ", name, type->suffix), type->comment);
  out.reach(field.bit_offset + 8 * type->size, align);
  return true;
}

std::optional<CppTypes::Layout> CppTypes::try_lay_out(const std::vector<Field>& fields, Shape shape, Frame frame) {
  Writer out(frame, shape.is_union);
  for (const auto& field : fields)
    if (!add_field(out, field, shape, frame)) return std::nullopt;
  if (shape.may_grow) shape.size = rounded_up(shape.size, out.align);
  const u64 wanted = shape.size * 8;
  if (out.end > wanted || wanted % (8 * out.align) != 0) return std::nullopt;
  if (rounded_up(std::max<u64>(out.end, 1), 8 * out.align) != wanted) {
    if (shape.is_union)
      out.line(fmt::format("unsigned char {}[{}]", out.name("_size"), shape.size));
    else
      out.pad(wanted);
  }
  return Layout{std::move(out.body), shape.size, out.align, shape.packed};
}

std::optional<CppTypes::Layout> CppTypes::lay_out(const std::vector<Field>& fields, Shape shape, Frame frame) {
  if (frame.depth > deepest || shape.size == 0) return std::nullopt;
  const auto names = *frame.names;  // a failed attempt gives its names back
  if (auto natural = try_lay_out(fields, shape, frame)) return natural;
  *frame.names = names;
  shape.packed = true;
  return try_lay_out(fields, shape, frame);
}

std::vector<CppTypes::Field> CppTypes::fields_of(const btf::Type& t) const {
  std::vector<Field> fields;
  for (const auto& member : btf_.members(t))
    fields.push_back({std::string(member.name), member.type_id, member.bit_offset, member.bit_size});
  return fields;
}

std::optional<CppTypes::Spelled> CppTypes::inline_record(const btf::Type& t, Frame frame) {
  if (!open_.insert(t.id).second) return std::nullopt;
  const bool is_union = t.kind == btf::Kind::union_;
  const auto layout = lay_out(fields_of(t), {.is_union = is_union, .size = t.size()}, frame);
  open_.erase(t.id);
  if (!layout) return std::nullopt;
  return Spelled{fmt::format("{}{} {{\n{}{}}}", is_union ? "union" : "struct",
                             layout->packed ? " __attribute__((packed))" : "", layout->body, tabs(frame.indent - 1)),
                 {},
                 layout->size,
                 layout->align,
                 {}};
}

void CppTypes::emit_record(std::string_view word, const std::string& name, const Layout& layout, u64 size) {
  text_ += fmt::format("  {}{} {} {{\n{}  }};\n  static_assert(sizeof({}) == {});\n", word,
                       layout.packed ? " __attribute__((packed))" : "", name, layout.body, name, size);
}

std::optional<CppTypes::Spelled> CppTypes::spell_record(const btf::Type& t, std::string_view hint, Frame frame) {
  if (const auto known = done_.find(t.id); known != done_.end()) return known->second;
  if (t.size() == 0 || frame.depth > deepest || !open_.insert(t.id).second) return std::nullopt;
  const bool is_union = t.kind == btf::Kind::union_;
  std::set<std::string> names;
  auto layout = lay_out(fields_of(t), {.is_union = is_union, .size = t.size()}, {2, frame.depth + 1, &names});
  open_.erase(t.id);
  if (!layout) layout = Layout{fmt::format("    unsigned char bytes[{}];\n", t.size()), t.size(), 1, false};
  const auto name = unique(t.name.empty() ? hint : btf::essential_name(t.name));
  emit_record(is_union ? "union" : "struct", name, *layout, t.size());
  return done_[t.id] = Spelled{fmt::format("{}::{}", scope_, name), {}, layout->size, layout->align, {}};
}

std::optional<CppTypes::Spelled> CppTypes::spell_enum(const btf::Type& t, std::string_view hint) {
  if (const auto known = done_.find(t.id); known != done_.end()) return known->second;
  const bool is_signed = t.kind_flag;
  const auto base = number(t.size(), is_signed);
  if (base.empty() || t.size() > 8) return std::nullopt;
  const auto name = unique(t.name.empty() ? hint : btf::essential_name(t.name));
  text_ += fmt::format("  enum {} : {} {{", name, base);
  for (const auto& value : btf_.enumerators(t))
    if (fits(value.value, t.size(), is_signed))
      text_ += fmt::format("\n    {} = {},", unique(value.name), enumerator_value(value.value, is_signed));
  text_ += text_.ends_with('{') ? "};\n" : "\n  };\n";
  return done_[t.id] = Spelled{fmt::format("{}::{}", scope_, name), {}, t.size(), t.size(), {}};
}

std::optional<CppTypes::Spelled> CppTypes::spell(u32 id, std::string_view place, Frame frame) {
  std::string_view hint = place;
  while (btf::is_modifier(btf_.type(id).kind)) {
    if (btf_.type(id).kind == btf::Kind::typedef_) hint = btf_.type(id).name;
    id = btf_.type(id).type_id();
  }
  const auto t = btf_.type(id);
  switch (t.kind) {
    case btf::Kind::int_: {
      const auto encoding = btf_.int_encoding(t);
      auto base = encoding.is_bool && t.size() == 1                         ? "bool"
                  : t.size() == 1 && (encoding.is_char || t.name == "char") ? "char"
                                                                            : number(t.size(), encoding.is_signed);
      if (base.empty() || (encoding.bits != t.size() * 8 && !encoding.is_bool)) return std::nullopt;
      return Spelled{std::move(base), {}, t.size(), t.size(), {}};
    }
    case btf::Kind::float_:
      if (t.size() != 4 && t.size() != 8) return std::nullopt;
      return Spelled{t.size() == 4 ? "float" : "double", {}, t.size(), t.size(), {}};
    case btf::Kind::ptr: {
      auto text = btf::declaration(btf_, id, "").value_or("");
      if (text.size() > 60 || text.find_first_of("\n\\") != std::string::npos) text = "pointer";
      return Spelled{"skep::u64", {}, 8, 8, text};
    }
    case btf::Kind::array: {
      const auto array = btf_.array(t);
      auto element = frame.depth > deepest
                         ? std::nullopt
                         : spell(array.element_id, place, {frame.indent, frame.depth + 1, frame.names});
      if (!element) return std::nullopt;
      element->suffix = fmt::format("[{}]{}", array.count, element->suffix);
      element->size *= array.count;
      return element;
    }
    case btf::Kind::struct_:
    case btf::Kind::union_:
      return spell_record(t, hint, frame);
    case btf::Kind::enum_:
    case btf::Kind::enum64:
      return spell_enum(t, hint);
    default:
      return std::nullopt;
  }
}

std::string CppTypes::value_type(u32 id, u64 size, std::string_view place) {
  const auto bytes = fmt::format("std::array<std::byte, {}>", size);
  const auto real = id != 0 && id < btf_.type_count() ? btf_.size_of(id) : Result<u64>(0);
  if (!real || *real != size || size == 0) return bytes;
  const auto t = btf_.type(btf_.resolve(id));
  if (t.kind == btf::Kind::array) {
    const auto array = btf_.array(t);
    const u64 element_size = btf_.size_of(array.element_id).value_or(0);
    if (array.count == 0 || element_size * array.count != size) return bytes;
    return fmt::format("std::array<{}, {}>", value_type(array.element_id, element_size, place), array.count);
  }
  std::set<std::string> names;
  const auto spelled = spell(id, place, {1, 0, &names});
  return spelled ? spelled->base : bytes;
}

void CppTypes::define(u32 id) {
  std::set<std::string> names;
  const auto t = btf_.type(btf_.resolve(id));
  if (btf::is_composite(t.kind) && t.size() != 0) spell(id, "record", {1, 0, &names});
}

bool CppTypes::section(const btf::Type& datasec, std::string_view name) {
  std::vector<Field> fields;
  for (const auto& entry : btf_.section_vars(datasec)) {
    const auto variable = btf_.type(entry.type_id);
    if (variable.kind != btf::Kind::var || btf_.linkage(variable) == 0) continue;  // static: nobody else's
    fields.push_back({std::string(variable.name), variable.type_id(), u64{8} * entry.offset, 0});
    if (const auto t = btf_.type(btf_.resolve(variable.type_id())); t.kind == btf::Kind::ptr) define(t.type_id());
  }
  std::set<std::string> names;
  const u64 size = datasec.size();
  const auto layout = lay_out(fields, {.may_grow = true, .size = size}, {2, 0, &names});
  if (fields.empty() || !layout) return false;
  emit_record("struct", std::string(name), *layout, layout->size);
  return true;
}

}  // namespace skep::gen
