// Printing types as C: an order pass that decides what must come first, and a printer of definitions and declarators.
//
// C declarators read inside out, so declare() grows the text around the name while it walks from the outer type to
// the base: `int (*f)(void)` starts as "f", becomes "*f", then "(*f)(void)", and ends with its base in front.
#include "btf/dump_c.hpp"

#include <fmt/core.h>
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <unordered_map>
#include <unordered_set>

namespace skep::btf {
namespace {

constexpr u32 deepest = 200;
constexpr std::size_t largest_output = 256u << 20;

constexpr std::string_view prologue = R"(#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

)";
constexpr std::string_view kfunc_prologue = R"(#ifndef BPF_NO_KFUNC_PROTOTYPES
#ifndef __ksym
#define __ksym __attribute__((section(".ksyms")))
#endif
#ifndef __weak
#define __weak __attribute__((weak))
#endif

)";
constexpr std::string_view epilogue = R"(#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
)";

/// Integer types that C knows by these names.
const std::unordered_set<std::string_view>& builtin_names() {
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
  return names;
}

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

class Printer {
 public:
  explicit Printer(const Btf& btf) : btf_(btf), state_(btf.type_count(), State::untouched) {}

  Result<void> add(u32 id);
  Result<void> add_kfuncs();
  Result<std::string> declare(u32 id, std::string inner, u32 depth, u32 indent);
  Result<void> need(u32 id, bool by_value, u32 depth);
  std::string take() { return std::move(out_); }
  void text(std::string_view text) { out_ += text; }

 private:
  enum class State : u8 { untouched, working, done };

  Result<void> need_record(const Type& t, bool by_value, u32 depth);
  Result<void> need_members(const Type& t, u32 depth);
  Result<void> add_constants(const Type& t);
  void find_mentioned();
  Result<void> need_typedef(const Type& t, bool by_value, u32 depth);
  Result<std::string> body(const Type& t, u32 depth, u32 indent);
  Result<std::string> record_body(const Type& t, u32 depth, u32 indent);
  std::string enum_body(const Type& t, u32 indent);
  Result<std::string> base_text(const Type& t, u32 depth, u32 indent);
  Result<std::string> parameters(const Type& proto, u32 depth, u32 indent);
  void pad(std::string& out, u64 from, u64 to, u32 indent) const;
  void define_builtin(const Type& t);
  /// The name to print: identifiers only, with a suffix where it was taken before.
  const std::string& name_for(const Type& t);
  std::string unique(std::unordered_map<std::string, u32>& taken, std::string_view name);
  Result<void> room(std::size_t more) const {
    if (out_.size() + more > largest_output) return fail(Code::limit, "more than 256 MiB of C");
    return {};
  }

  const Btf& btf_;
  std::vector<State> state_;
  std::vector<bool> mentioned_;  ///< by another type; filled when first asked for
  std::string out_;
  std::unordered_map<u32, std::string> names_;
  std::unordered_map<std::string, u32> tags_, identifiers_;
  std::unordered_set<std::string> forwards_;
};

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

tl::unexpected<Error> too_deep(u32 id) {
  return fail(Code::limit, fmt::format("BTF type {}: nested more than {} deep", id, deepest));
}

std::string identifier(std::string_view name) {
  std::string out(name);
  for (char& c : out)
    if (!(c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))) c = '_';
  if (!out.empty() && out[0] >= '0' && out[0] <= '9') out.insert(0, 1, '_');
  return out;
}

std::string Printer::unique(std::unordered_map<std::string, u32>& taken, std::string_view name) {
  auto out = identifier(name);
  const u32 count = ++taken[out];
  if (count > 1) out += fmt::format("___{}", count);
  return out;
}

const std::string& Printer::name_for(const Type& t) {
  const auto [entry, added] = names_.try_emplace(t.id);
  if (!added) return entry->second;
  if (t.name == "__builtin_va_list")
    entry->second = "__builtin_va_list___target";  // the compiler has its own, with the layout of its own target
  else if (t.kind == Kind::fwd)
    entry->second = identifier(t.name);  // stands for the first type of that name
  else
    entry->second = unique(t.kind == Kind::typedef_ ? identifiers_ : tags_, t.name);
  return entry->second;
}

/// What must be printed before `id` can be used; `by_value` when its size matters.
Result<void> Printer::need(u32 id, bool by_value, u32 depth) {
  if (depth > deepest) return too_deep(id);
  const auto t = btf_.type(id);
  switch (t.kind) {
    case Kind::ptr:
      return need(t.type_id(), false, depth + 1);
    case Kind::volatile_:
    case Kind::const_:
    case Kind::restrict_:
    case Kind::type_tag:
      return need(t.type_id(), by_value, depth + 1);
    case Kind::array:
      return need(btf_.array(t).element_id, true, depth + 1);
    case Kind::func_proto:
      SKEP_TRY(need(t.type_id(), false, depth + 1));
      for (const auto& p : btf_.params(t)) SKEP_TRY(need(p.type_id, false, depth + 1));
      return {};
    case Kind::typedef_:
      return need_typedef(t, by_value, depth);
    case Kind::struct_:
    case Kind::union_:
    case Kind::enum_:
    case Kind::enum64:
      return need_record(t, by_value, depth);
    case Kind::fwd:
      if (forwards_.insert(fmt::format("{} {}", tag_word(t), name_for(t))).second)
        out_ += fmt::format("{} {};\n\n", tag_word(t), name_for(t));
      return {};
    case Kind::int_:
    case Kind::float_:
      define_builtin(t);
      return {};
    default:
      return {};
  }
}

Result<void> Printer::need_members(const Type& t, u32 depth) {
  for (u32 i = 0; i < t.vlen; i++) SKEP_TRY(need(btf_.member(t, i).type_id, true, depth + 1));
  return {};
}

Result<void> Printer::need_record(const Type& t, bool by_value, u32 depth) {
  State& state = state_[t.id];
  if (state == State::done) return {};
  if (is_enumeration(t.kind)) {
    state = State::done;
    if (t.name.empty()) return {};  // printed where it is used
    out_ += fmt::format("enum {} {};\n\n", name_for(t), enum_body(t, 0));
    return {};
  }
  if (!by_value && !t.name.empty()) {
    // Also while its definition is under way: inside a function's parameters a new name would be local to them.
    if (forwards_.insert(fmt::format("{} {}", tag_word(t), name_for(t))).second)
      out_ += fmt::format("{} {};\n\n", tag_word(t), name_for(t));
    return {};
  }
  if (state == State::working)
    return fail(Code::malformed, fmt::format("BTF type {}: {} '{}' contains itself", t.id, name_of(t.kind), t.name));
  state = State::working;
  SKEP_TRY(need_members(t, depth));
  if (!t.name.empty()) {
    const auto text = SKEP_TRY(record_body(t, depth, 0));
    SKEP_TRY(room(text.size()));
    out_ += fmt::format("{} {} {};\n\n", tag_word(t), name_for(t), text);
  }
  state_[t.id] = State::done;
  return {};
}

Result<void> Printer::need_typedef(const Type& t, bool by_value, u32 depth) {
  const State state = state_[t.id];
  if (state == State::working) return {};  // only crafted types use a typedef inside itself
  if (state == State::untouched) {
    state_[t.id] = State::working;
    SKEP_TRY(need(t.type_id(), false, depth + 1));
    const auto text = SKEP_TRY(declare(t.type_id(), name_for(t), depth, 0));
    SKEP_TRY(room(text.size()));
    out_ += fmt::format("typedef {};\n\n", text);
    state_[t.id] = State::done;
  }
  return by_value ? need(t.type_id(), true, depth + 1) : Result<void>{};
}

/// Integers of other languages ("u8" of Rust) are given the C type of their size.
void Printer::define_builtin(const Type& t) {
  if (state_[t.id] != State::untouched) return;
  state_[t.id] = State::done;
  if (t.kind == Kind::float_ || t.name.empty() || builtin_names().contains(t.name)) return;
  static constexpr std::string_view words[] = {"char", "short", "int", "long long", "__int128"};
  u32 index = 0;
  while (index < 4 && (1U << index) < t.size()) index++;
  const auto name = name_for(t);
  out_ +=
      fmt::format("typedef {} {} {};\n\n", btf_.int_encoding(t).is_signed ? "signed" : "unsigned", words[index], name);
}

Result<std::string> Printer::base_text(const Type& t, u32 depth, u32 indent) {
  switch (t.kind) {
    case Kind::void_:
      return std::string("void");
    case Kind::int_:
    case Kind::float_:
      return t.kind == Kind::float_ || builtin_names().contains(t.name) ? std::string(t.name) : name_for(t);
    case Kind::typedef_:
      return name_for(t);
    case Kind::fwd:
      return fmt::format("{} {}", tag_word(t), name_for(t));
    case Kind::struct_:
    case Kind::union_:
    case Kind::enum_:
    case Kind::enum64:
      if (!t.name.empty()) return fmt::format("{} {}", tag_word(t), name_for(t));
      return fmt::format("{} {}", tag_word(t), SKEP_TRY(body(t, depth + 1, indent)));
    default:
      return fail(Code::malformed, fmt::format("BTF type {}: a {} is no C type", t.id, name_of(t.kind)));
  }
}

Result<std::string> Printer::parameters(const Type& proto, u32 depth, u32 indent) {
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
Result<std::string> Printer::declare(u32 id, std::string inner, u32 depth, u32 indent) {
  Qualifiers qualifiers;  // of what comes next, walking inwards to the base
  bool pointed = false;   // `inner` begins with '*': arrays and functions need parentheses
  for (u32 steps = 0;; steps++) {
    if (steps + depth > deepest) return too_deep(id);
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

Result<std::string> Printer::body(const Type& t, u32 depth, u32 indent) {
  if (depth > deepest) return too_deep(t.id);
  return is_enumeration(t.kind) ? enum_body(t, indent) : record_body(t, depth, indent);
}

std::string Printer::enum_body(const Type& t, u32 indent) {
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
void Printer::pad(std::string& out, u64 from, u64 to, u32 indent) const {
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
    // A long gap of whole words is one array-like run; a member is shorter than a thousand lines.
    if (bits == 64 && to - from >= 64 * 16) {
      const u64 words = (to - from) / 64;
      out += fmt::format("{:\t>{}}unsigned long long __pad_{}[{}];\n", "", indent, from / 8, words);
      from += words * 64;
      continue;
    }
    out += fmt::format("{:\t>{}}{}: {};\n", "", indent, type, bits);
    from += bits;
  }
}

Result<std::string> Printer::record_body(const Type& t, u32 depth, u32 indent) {
  u32 natural = 1;  // what the members alone would align the struct to
  for (u32 i = 0; i < t.vlen; i++) natural = std::max(natural, btf_.align_of(btf_.member(t, i).type_id));
  const u32 align = btf_.align_of(t.id);
  const bool packed = align < natural;
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
      if (reached < m.bit_offset || (m.bit_size != 0 && at < m.bit_offset)) pad(out, at, m.bit_offset, indent + 1);
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
  if (t.kind == Kind::struct_ && wanted > rounded) pad(out, at, wanted, indent + 1);
  if (t.kind == Kind::union_ && wanted > rounded)
    out += fmt::format("{:\t>{}}char __size[{}];\n", "", indent + 1, t.size());
  out += fmt::format("{:\t>{}}}}{}", "", indent, packed ? " __attribute__((packed))" : "");
  return out;
}

Result<void> Printer::add(u32 id) {
  const auto t = btf_.type(id);
  switch (t.kind) {
    case Kind::struct_:
    case Kind::union_:
      return t.name.empty() ? Result<void>{} : need(id, true, 0);
    case Kind::typedef_:
      return need(id, true, 0);
    case Kind::enum_:
    case Kind::enum64:
      if (t.name.empty()) return add_constants(t);
      return need(id, true, 0);
    case Kind::fwd:
      return need(id, true, 0);
    default:
      return {};
  }
}

/// An enumeration without a name that no type mentions exists for its enumerators (BPF_ANY, BPF_F_CURRENT_CPU).
Result<void> Printer::add_constants(const Type& t) {
  if (mentioned_.empty()) find_mentioned();
  if (mentioned_[t.id]) return {};
  SKEP_TRY(room(0));
  out_ += fmt::format("enum {};\n\n", enum_body(t, 0));
  return {};
}

void Printer::find_mentioned() {
  mentioned_.resize(btf_.type_count());
  for (u32 id = 1; id < btf_.type_count(); id++) {
    const auto t = btf_.type(id);
    switch (t.kind) {
      case Kind::struct_:
      case Kind::union_:
        for (u32 i = 0; i < t.vlen; i++) mentioned_[btf_.member(t, i).type_id] = true;
        break;
      case Kind::array:
        mentioned_[btf_.array(t).element_id] = true;
        break;
      case Kind::func_proto:
        mentioned_[t.type_id()] = true;
        for (const auto& p : btf_.params(t)) mentioned_[p.type_id] = true;
        break;
      case Kind::ptr:
      case Kind::typedef_:
      case Kind::volatile_:
      case Kind::const_:
      case Kind::restrict_:
      case Kind::type_tag:
      case Kind::var:
        mentioned_[t.type_id()] = true;
        break;
      default:
        break;
    }
  }
}

Result<void> Printer::add_kfuncs() {
  std::unordered_set<std::string_view> printed;
  for (u32 id = 1; id < btf_.type_count(); id++) {
    const auto tag = btf_.type(id);
    if (tag.kind != Kind::decl_tag || tag.name != "bpf_kfunc") continue;
    const auto func = btf_.type(tag.type_id());
    if (func.kind != Kind::func || !printed.insert(func.name).second) continue;
    SKEP_TRY(need(func.type_id(), false, 0));
    out_ += fmt::format("extern {} __weak __ksym;\n", SKEP_TRY(declare(func.type_id(), identifier(func.name), 0, 0)));
  }
  return {};
}

}  // namespace

Result<std::string> dump_c(const Btf& btf, const DumpOptions& options) {
  std::vector<u32> roots;
  for (u32 id = btf.first_id(); id < btf.type_count(); id++) roots.push_back(id);
  return dump_c(btf, roots, options);
}

Result<std::string> dump_c(const Btf& btf, std::span<const u32> roots, const DumpOptions& options) {
  Printer printer(btf);
  if (options.header) printer.text(prologue);
  for (const u32 id : roots) SKEP_TRY(printer.add(id));
  if (options.header) {
    printer.text(kfunc_prologue);
    SKEP_TRY(printer.add_kfuncs());
    printer.text("#endif\n\n");
    printer.text(epilogue);
  }
  return printer.take();
}

Result<std::string> declaration(const Btf& btf, u32 type_id, std::string_view name) {
  return Printer(btf).declare(type_id, std::string(name), 0, 0);
}

}  // namespace skep::btf
