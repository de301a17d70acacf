// The order in which types are printed as C: what must come first, and what a forward declaration is enough for.
//
// need() walks from a type to what its definition requires. Behind a pointer a record's name is enough; by value (as a
// member, an array's element, through a typedef) its definition must have been printed. Spelling is c_text.cpp's.
#include "btf/dump_c.hpp"

#include <fmt/core.h>

#include <unordered_set>

#include "btf/c_text.hpp"

namespace skep::btf {
namespace {

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

class Printer {
 public:
  Printer(const Btf& btf, const DumpOptions& options)
      : btf_(btf), options_(options), c_(btf, options.attribute), state_(btf.type_count(), State::untouched) {}

  Result<void> add(u32 id);
  Result<void> add_kfuncs();
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
  void define_builtin(const Type& t);
  Result<void> room(std::size_t more) const {
    if (out_.size() + more > largest_c_output) return fail(Code::limit, "more than 256 MiB of C");
    return {};
  }

  const Btf& btf_;
  const DumpOptions& options_;
  CText c_;
  std::vector<State> state_;
  std::vector<bool> mentioned_;  ///< by another type; filled when first asked for
  std::string out_;
  std::unordered_set<std::string> forwards_;
};

/// What must be printed before `id` can be used; `by_value` when its size matters.
Result<void> Printer::need(u32 id, bool by_value, u32 depth) {
  if (depth > deepest_c_nesting) return too_deep(id);
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
      if (forwards_.insert(fmt::format("{} {}", tag_word(t), c_.name_for(t))).second)
        out_ += fmt::format("{} {};\n\n", tag_word(t), c_.name_for(t));
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
  if (!t.name.empty() && options_.is_known && options_.is_known(t)) {
    state = State::done;
    return {};
  }
  if (is_enumeration(t.kind)) {
    state = State::done;
    if (t.name.empty()) return {};  // printed where it is used
    out_ += fmt::format("enum {} {};\n\n", c_.name_for(t), c_.enum_body(t, 0));
    return {};
  }
  if (!by_value && !t.name.empty()) {
    // Also while its definition is under way: inside a function's parameters a new name would be local to them.
    if (forwards_.insert(fmt::format("{} {}", tag_word(t), c_.name_for(t))).second)
      out_ += fmt::format("{} {};\n\n", tag_word(t), c_.name_for(t));
    return {};
  }
  if (state == State::working)
    return fail(Code::malformed, fmt::format("BTF type {}: {} '{}' contains itself", t.id, name_of(t.kind), t.name));
  state = State::working;
  SKEP_TRY(need_members(t, depth));
  if (!t.name.empty()) {
    const auto text = SKEP_TRY(c_.record_body(t, depth, 0));
    SKEP_TRY(room(text.size()));
    out_ += fmt::format("{} {}{} {};\n\n", tag_word(t), c_.attribute_of(t), c_.name_for(t), text);
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
    const auto text = SKEP_TRY(c_.declare(t.type_id(), c_.name_for(t), depth, 0));
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
  if (t.kind == Kind::float_ || t.name.empty() || is_builtin_name(t.name)) return;
  static constexpr std::string_view words[] = {"char", "short", "int", "long long", "__int128"};
  u32 index = 0;
  while (index < 4 && (1U << index) < t.size()) index++;
  const auto name = c_.name_for(t);
  out_ +=
      fmt::format("typedef {} {} {};\n\n", btf_.int_encoding(t).is_signed ? "signed" : "unsigned", words[index], name);
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
  out_ += fmt::format("enum {};\n\n", c_.enum_body(t, 0));
  return {};
}

void Printer::find_mentioned() {
  mentioned_.resize(btf_.type_count());
  const auto mention = [this](u32 id) {  // of the kernel's types the references are not proved
    if (id < mentioned_.size()) mentioned_[id] = true;
  };
  for (u32 id = 1; id < btf_.type_count(); id++) {
    const auto t = btf_.type(id);
    switch (t.kind) {
      case Kind::struct_:
      case Kind::union_:
        for (u32 i = 0; i < t.vlen; i++) mention(btf_.member(t, i).type_id);
        break;
      case Kind::array:
        mention(btf_.array(t).element_id);
        break;
      case Kind::func_proto:
        mention(t.type_id());
        for (const auto& p : btf_.params(t)) mention(p.type_id);
        break;
      case Kind::ptr:
      case Kind::typedef_:
      case Kind::volatile_:
      case Kind::const_:
      case Kind::restrict_:
      case Kind::type_tag:
      case Kind::var:
        mention(t.type_id());
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
    out_ +=
        fmt::format("extern {} __weak __ksym;\n", SKEP_TRY(c_.declare(func.type_id(), identifier(func.name), 0, 0)));
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
  Printer printer(btf, options);
  if (options.header) printer.text(prologue);
  for (const u32 id : roots) SKEP_TRY(printer.add(id));
  if (options.header && options.kfuncs) {
    printer.text(kfunc_prologue);
    SKEP_TRY(printer.add_kfuncs());
    printer.text("#endif\n\n");
  }
  if (options.header) printer.text(epilogue);
  return printer.take();
}

Result<std::string> declaration(const Btf& btf, u32 type_id, std::string_view name) {
  return CText(btf).declare(type_id, std::string(name), 0, 0);
}

}  // namespace skep::btf
