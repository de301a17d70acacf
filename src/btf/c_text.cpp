// Spelling types as C. Declarators read inside out, so declare() grows the text around the name while it walks from
// the outer type to the base: `int (*f)(void)` starts as "f", becomes "*f", then "(*f)(void)", and ends with its base
// in front. Bodies reproduce the layout the types record: see pad() and record_body().
#include "btf/c_text.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <unordered_set>

namespace skep::btf {
namespace {

/// const, volatile, restrict: each counts once.
struct Qualifiers {
  bool is_const = false, is_volatile = false, is_restrict = false;
  void add(Kind kind) {
    is_const |= kind == Kind::const_;
    is_volatile |= kind == Kind::volatile_;
    is_restrict |= kind == Kind::restrict_;
  }
  std::string text() const {
    return std::string(is_const ? "const " : "") + (is_volatile ? "volatile " : "") + (is_restrict ? "restrict " : "");
  }
};

}  // namespace

std::string_view tag_word(const Type& t) {
  switch (t.kind) {
    case Kind::struct_:
      return "struct";
    case Kind::union_:
      return "union";
    case Kind::fwd:
      return t.kind_flag ? "union" : "struct";
    default:
      return "enum";
  }
}

std::string identifier(std::string_view name) {
  std::string out(name);
  for (char& c : out)
    if (!(c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))) c = '_';
  if (!out.empty() && out[0] >= '0' && out[0] <= '9') out.insert(0, 1, '_');
  return out;
}

std::string CText::unique(std::unordered_map<std::string, u32>& taken, std::string_view name) {
  auto out = identifier(name);
  const u32 count = ++taken[out];
  if (count > 1) out += fmt::format("___{}", count);
  return out;
}

const std::string& CText::name_for(const Type& t) {
  const auto [entry, added] = names_.try_emplace(t.id);
  if (!added) return entry->second;
  if (t.name == "__builtin_va_list")
    entry->second = "__builtin_va_list___target";  // the compiler has its own, with the layout of its own target
  else if (t.kind == Kind::fwd)
    entry->second = identifier(t.name);  // stands for the first type of that name
  else
    entry->second = unique(t.kind == Kind::typedef_ || t.kind == Kind::int_ ? identifiers_ : tags_, t.name);
  return entry->second;
}

Result<std::string> CText::base_text(const Type& t, u32 depth, u32 indent) {
  switch (t.kind) {
    case Kind::void_:
      return std::string("void");
    case Kind::int_:
    case Kind::float_:
      if (is_builtin_name(t.name)) return std::string(t.name);
      return t.kind == Kind::float_ ? identifier(t.name) : name_for(t);
    case Kind::typedef_:
      return name_for(t);
    case Kind::fwd:
      return fmt::format("{} {}", tag_word(t), name_for(t));
    case Kind::struct_:
    case Kind::union_:
    case Kind::enum_:
    case Kind::enum64:
      if (!t.name.empty()) return fmt::format("{} {}", tag_word(t), name_for(t));
      return fmt::format("{} {}{}", tag_word(t), is_composite(t.kind) ? attribute_of(t) : std::string_view(),
                         SKEP_TRY(body(t, depth + 1, indent)));
    default:
      return fail(Code::malformed, fmt::format("BTF type {}: a {} is no C type", t.id, name_of(t.kind)));
  }
}

Result<std::string> CText::parameters(const Type& proto, u32 depth, u32 indent) {
  if (proto.vlen == 0) return std::string("(void)");
  std::string out = "(";
  const auto params = btf_.params(proto);
  for (std::size_t i = 0; i < params.size(); i++) {
    if (i > 0) out += ", ";
    const bool is_rest = params[i].type_id == 0 && i + 1 == params.size();
    out += is_rest ? std::string("...")
                   : SKEP_TRY(declare(params[i].type_id, identifier(params[i].name), depth + 1, indent));
    SKEP_TRY(room(out.size()));
  }
  return out + ")";
}

/// The declaration of `inner` as a value of type `id`.
Result<std::string> CText::declare(u32 id, std::string inner, u32 depth, u32 indent) {
  Qualifiers qualifiers;  // of what comes next, walking inwards to the base
  bool pointed = false;   // `inner` begins with '*': arrays and functions need parentheses
  for (u32 steps = 0;; steps++) {
    if (steps + depth > deepest_c_nesting) return too_deep(id);
    const auto t = btf_.type(id);
    switch (t.kind) {
      case Kind::const_:
      case Kind::volatile_:
      case Kind::restrict_:
        qualifiers.add(t.kind);
        id = t.type_id();
        continue;
      case Kind::type_tag:
        id = t.type_id();
        continue;
      case Kind::ptr:
        inner = fmt::format("*{}{}", qualifiers.text(), inner);
        qualifiers = {};
        pointed = true;
        id = t.type_id();
        continue;
      case Kind::array:
        if (pointed) inner = fmt::format("({})", inner);
        pointed = false;
        inner += fmt::format("[{}]", btf_.array(t).count);
        id = btf_.array(t).element_id;
        continue;
      case Kind::func_proto:
        if (pointed) inner = fmt::format("({})", inner);
        pointed = false;
        qualifiers = {};
        inner += SKEP_TRY(parameters(t, depth, indent));
        id = t.type_id();
        continue;
      default: {
        SKEP_TRY(room(inner.size()));
        auto base = SKEP_TRY(base_text(t, depth + steps, indent));
        if (inner.empty()) return qualifiers.text() + base;
        return fmt::format("{}{} {}", qualifiers.text(), base, inner);
      }
    }
  }
}

Result<std::string> CText::body(const Type& t, u32 depth, u32 indent) {
  if (depth > deepest_c_nesting) return too_deep(t.id);
  return is_enumeration(t.kind) ? enum_body(t, indent) : record_body(t, depth, indent);
}

std::string CText::enum_body(const Type& t, u32 indent) {
  std::string out = "{\n";
  const auto values = btf_.enumerators(t);
  for (const auto& value : values) {
    const auto name = unique(identifiers_, value.name);
    if (t.kind == Kind::enum64)
      out += t.kind_flag ? fmt::format("{:\t>{}}{} = {}LL,\n", "", indent + 1, name, value.value)
                         : fmt::format("{:\t>{}}{} = {}ULL,\n", "", indent + 1, name, static_cast<u64>(value.value));
    else
      out += fmt::format("{:\t>{}}{} = {},\n", "", indent + 1, name, value.value);
  }
  // C has no enumeration without enumerators.
  if (values.empty())
    out += fmt::format("{:\t>{}}{},\n", "", indent + 1, unique(identifiers_, identifier(t.name) + "__none"));
  out += fmt::format("{:\t>{}}}}", "", indent);
  if (t.size() == 1) out += " __attribute__((mode(byte)))";
  if (t.size() == 2) out += " __attribute__((mode(HI)))";
  if (t.size() == 8) out += " __attribute__((mode(DI)))";
  return out;
}

/// Unnamed bit-fields from bit `from` to bit `to`: each as wide as its alignment lets it be.
/// `owner` distinguishes the names of gaps.
void CText::pad(std::string& out, u64 from, u64 to, u32 indent, std::string_view owner) const {
  struct Unit {
    u64 bits;
    std::string_view type;
  };
  static constexpr Unit units[] = {{64, "long long"}, {32, "int"}, {16, "short"}, {8, "char"}};
  while (from < to) {
    u64 bits = std::min(8 - from % 8, to - from);
    std::string_view type = "char";
    for (const auto& unit : units) {
      if (from % unit.bits != 0 || to - from < unit.bits) continue;
      bits = unit.bits;
      type = unit.type;
      break;
    }
    // A long gap is one array: a member is shorter than a thousand lines. Of bytes, which ask for no alignment.
    if (bits == 64 && to - from >= 64 * 4) {
      const u64 bytes = (to - from) / 8;
      out += fmt::format("{:\t>{}}char __pad_{}{}[{}];\n", "", indent, from / 8, owner, bytes);
      from += bytes * 8;
      continue;
    }
    out += fmt::format("{:\t>{}}{}: {};\n", "", indent, type, bits);
    from += bits;
  }
}

Result<std::string> CText::record_body(const Type& t, u32 depth, u32 indent) {
  u32 natural = 1;  // what the members alone would align the struct to
  for (u32 i = 0; i < t.vlen; i++) natural = std::max(natural, btf_.align_of(btf_.member(t, i).type_id));
  const u32 align = btf_.align_of(t.id);
  const bool packed = align < natural;
  // The members of an unnamed record are those of the record around it, so names for gaps must not be the same.
  const std::string owner = t.name.empty() ? fmt::format("_{}", t.id) : "";
  std::string out = "{\n";
  u64 at = 0;   // bits used so far
  u64 end = 0;  // of the largest member
  for (u32 i = 0; i < t.vlen; i++) {
    const auto m = btf_.member(t, i);
    const u64 size = SKEP_TRY(btf_.size_of(m.type_id));
    if (t.kind == Kind::struct_) {
      const u64 member_align = packed || m.bit_size != 0 ? 1 : 8ULL * btf_.align_of(m.type_id);
      const u64 reached = (at + member_align - 1) / member_align * member_align;
      if (m.bit_offset < at)
        return fail(Code::malformed, fmt::format("BTF type {}: member '{}' overlaps the one before", t.id, m.name));
      if (reached < m.bit_offset || (m.bit_size != 0 && at < m.bit_offset))
        pad(out, at, m.bit_offset, indent + 1, owner);
    }
    auto name = identifier(m.name);
    auto text = SKEP_TRY(declare(m.type_id, name, depth + 1, indent + 1));
    out += fmt::format("{:\t>{}}{}", "", indent + 1, text);
    if (m.bit_size != 0) out += fmt::format(": {}", m.bit_size);
    out += ";\n";
    at = m.bit_offset + (m.bit_size != 0 ? m.bit_size : size * 8);
    end = std::max(end, at);
    SKEP_TRY(room(out.size()));
  }
  const u64 rounded = (end + 8ULL * align - 1) / (8ULL * align) * (8ULL * align);
  const u64 wanted = u64{t.size()} * 8;
  if (t.kind == Kind::struct_ && wanted > rounded) pad(out, at, wanted, indent + 1, owner);
  if (t.kind == Kind::union_ && wanted > rounded)
    out += fmt::format("{:\t>{}}char __size{}[{}];\n", "", indent + 1, owner, t.size());
  out += fmt::format("{:\t>{}}}}{}", "", indent, packed ? " __attribute__((packed))" : "");
  return out;
}

bool is_builtin_name(std::string_view name) {
  static const std::unordered_set<std::string_view> names = {"char",
                                                             "signed char",
                                                             "unsigned char",
                                                             "short",
                                                             "short int",
                                                             "short unsigned int",
                                                             "unsigned short",
                                                             "int",
                                                             "unsigned int",
                                                             "unsigned",
                                                             "long",
                                                             "long int",
                                                             "long unsigned int",
                                                             "unsigned long",
                                                             "long long",
                                                             "long long int",
                                                             "long long unsigned int",
                                                             "unsigned long long",
                                                             "__int128",
                                                             "__int128 unsigned",
                                                             "unsigned __int128",
                                                             "_Bool",
                                                             "float",
                                                             "double",
                                                             "long double",
                                                             "signed int",
                                                             "signed"};
  return names.contains(name);
}

tl::unexpected<Error> too_deep(u32 id) {
  return fail(Code::limit, fmt::format("BTF type {}: nested more than {} deep", id, deepest_c_nesting));
}

Result<void> CText::room(std::size_t size) const {
  if (size > largest_c_output) return fail(Code::limit, "more than 256 MiB of C");
  return {};
}

}  // namespace skep::btf
