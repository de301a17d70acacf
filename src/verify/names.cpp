// Names and types of C values.
#include "verify/names.hpp"

#include <fmt/format.h>

#include <charconv>

#include "btf/dump_c.hpp"
#include "verify/c_line.hpp"

namespace skep::verify {

using c_line::trimmed;

namespace {
constexpr u32 deepest = 16;  // levels of an expression, or of a type

bool drop_word(std::string_view& text, std::string_view word) {
  if (!text.starts_with(word) || text.size() <= word.size() || (text[word.size()] != ' ' && text[word.size()] != '\t'))
    return false;
  text = trimmed(text.substr(word.size()));
  return true;
}
}  // namespace

const FunctionInfo* Names::function_at(u32 insn) const {
  const FunctionInfo* found = nullptr;
  for (const FunctionInfo& f : program_.functions)
    if (f.insn <= insn) found = &f;
  return found;
}

std::string Names::declaration(u32 type_id, std::string_view name) const {
  if (types_ == nullptr || type_id == 0 || type_id >= types_->type_count()) return {};
  const auto declared = btf::declaration(*types_, type_id, std::string(name));
  return declared ? std::string(trimmed(*declared)) : std::string();
}

std::string Names::parameter(u32 insn, u32 number) const {
  const FunctionInfo* f = function_at(insn);
  if (types_ == nullptr || f == nullptr || f->type_id == 0 || f->type_id >= types_->type_count()) return "ctx";
  const btf::Type function = types_->type(f->type_id);
  if (function.kind != btf::Kind::func || types_->type(function.type_id()).kind != btf::Kind::func_proto) return "ctx";
  const auto params = types_->params(types_->type(function.type_id()));
  for (const btf::Param& p : params)
    if (number-- == 0) return p.name.empty() ? "ctx" : std::string(p.name);
  return "ctx";
}

std::string Names::function_of(u32 insn) const {
  const FunctionInfo* f = function_at(insn);
  return f != nullptr && !f->name.empty() ? f->name : program_.name;
}

Names::Typed Names::from_text(std::string_view type) const {
  Typed t;
  while (drop_word(type, "const") || drop_word(type, "volatile") || drop_word(type, "static") ||
         drop_word(type, "register")) {
  }
  while (!type.empty() && (type.back() == '*' || type.back() == ' ')) {
    if (type.back() == '*') t.pointers++;
    type.remove_suffix(1);
  }
  std::optional<u32> id;
  if (std::string_view name = type; drop_word(name, "struct")) {
    id = types_->find(name, btf::Kind::struct_);
  } else if (name = type; drop_word(name, "union")) {
    id = types_->find(name, btf::Kind::union_);
  } else {
    for (auto kind : {btf::Kind::typedef_, btf::Kind::int_, btf::Kind::struct_})
      if (!id) id = types_->find(type, kind);
  }
  t.known = id.has_value() || type == "void";
  t.id = id.value_or(0);
  return t;
}

std::string Names::declaration_of(std::string_view name, u32 insn) const {
  const SourceLine* here = program_.line_at(insn);
  const SourceLine* best = nullptr;
  std::string type;
  for (const SourceLine& line : program_.lines) {  // the nearest one above
    if (here != nullptr && (line.file != here->file || line.line > here->line)) continue;
    if (best != nullptr && line.line <= best->line) continue;
    std::string found = c_line::declared_type(line.text, name);
    if (found.empty()) continue;
    best = &line;
    type = std::move(found);
  }
  return type;
}

Names::Typed Names::named(std::string_view name, u32 insn) const {
  if (const FunctionInfo* f = function_at(insn); f != nullptr && f->type_id != 0 && f->type_id < types_->type_count()) {
    const btf::Type function = types_->type(f->type_id);
    if (function.kind == btf::Kind::func && types_->type(function.type_id()).kind == btf::Kind::func_proto)
      for (const btf::Param& p : types_->params(types_->type(function.type_id())))
        if (p.name == name) return {p.type_id, 0, true};
  }
  if (const std::string declared = declaration_of(name, insn); !declared.empty() && declared.back() != ']')
    return from_text(declared);
  if (const auto global = types_->find(name, btf::Kind::var)) return {types_->type(*global).type_id(), 0, true};
  return {};
}

Names::Typed Names::pointee(Typed t) const {
  if (!t.known) return {};
  if (t.pointers > 0) return {t.id, t.pointers - 1, true};
  const btf::Type type = types_->type(types_->resolve(t.id));
  if (type.kind == btf::Kind::ptr) return {type.type_id(), 0, true};
  if (type.kind == btf::Kind::array) return {types_->array(type).element_id, 0, true};
  return {};
}

Names::Typed Names::member(Typed t, std::string_view name, u32 depth) const {
  if (!t.known || t.pointers > 0 || depth > deepest) return {};
  const btf::Type type = types_->type(types_->resolve(t.id));
  if (!btf::is_composite(type.kind)) return {};
  for (const btf::Member& m : types_->members(type)) {
    if (m.name == name) return {m.type_id, 0, true};
    if (!m.name.empty()) continue;
    if (const Typed inner = member({m.type_id, 0, true}, name, depth + 1); inner.known) return inner;
  }
  return {};
}

Names::Typed Names::resolve(std::string_view expression, u32 insn, u32 depth) const {
  expression = trimmed(expression);
  if (depth > deepest || expression.empty()) return {};
  if (c_line::is_identifier(expression)) return named(expression, insn);
  if (expression[0] == '*') return pointee(resolve(expression.substr(1), insn, depth + 1));
  if (expression.back() == ']') {
    const auto open = expression.rfind('[');
    if (open == std::string_view::npos) return {};
    return pointee(resolve(expression.substr(0, open), insn, depth + 1));
  }
  std::size_t name = expression.size();
  while (name > 0 &&
         (std::isalnum(static_cast<unsigned char>(expression[name - 1])) != 0 || expression[name - 1] == '_'))
    name--;
  const std::string_view field = expression.substr(name);
  if (field.empty() || name == 0) return {};
  if (name >= 2 && expression.substr(name - 2, 2) == "->")
    return member(pointee(resolve(expression.substr(0, name - 2), insn, depth + 1)), field, 0);
  if (expression[name - 1] == '.') return member(resolve(expression.substr(0, name - 1), insn, depth + 1), field, 0);
  return {};
}

std::string Names::text(Typed t) const {
  if (!t.known) return {};
  std::string stars(t.pointers, '*');
  if (t.id == 0) return "void" + (stars.empty() ? stars : " " + stars);
  const auto declared = btf::declaration(*types_, t.id, stars);
  return declared ? std::string(trimmed(*declared)) : std::string();
}

std::string Names::type_of(std::string_view expression, u32 insn) const {
  if (expression.empty()) return {};
  if (types_ != nullptr)
    if (const Typed t = resolve(expression, insn, 0); t.known) return text(t);
  return c_line::is_identifier(expression) ? declaration_of(expression, insn) : std::string();
}

u32 Names::elements_of(std::string_view expression, u32 insn) const {
  if (types_ == nullptr || expression.empty()) return 0;
  if (const std::string declared = c_line::is_identifier(expression) ? declaration_of(expression, insn) : std::string();
      declared.ends_with("]")) {
    const auto open = declared.rfind('[');
    u32 count = 0;  // stays 0 where it is no plain number
    std::from_chars(declared.data() + open + 1, declared.data() + declared.size(), count);
    return count;
  }
  const Typed t = resolve(expression, insn, 0);
  if (!t.known || t.pointers > 0) return 0;
  const btf::Type type = types_->type(types_->resolve(t.id));
  return type.kind == btf::Kind::array ? types_->array(type).count : 0;
}

Names::Field Names::field_at(u32 type_id, u64 offset, u32 size) const {
  Field field;
  if (types_ == nullptr || type_id == 0 || type_id >= types_->type_count()) return field;
  u32 id = type_id;
  for (u32 depth = 0; depth < deepest; depth++) {
    const btf::Type type = types_->type(types_->resolve(id));
    if (type.kind == btf::Kind::array) {
      const btf::Btf::Array array = types_->array(type);
      const u64 element = types_->size_of(array.element_id).value_or(0);
      if (element == 0 || array.count == 0) break;
      field.path += fmt::format("[{}]", std::min<u64>(offset / element, array.count - 1));
      offset %= element;
      id = array.element_id;
      continue;
    }
    if (!btf::is_composite(type.kind)) break;
    bool found = false;
    for (const btf::Member& m : types_->members(type)) {
      const u64 begin = m.bit_offset / 8, bytes = types_->size_of(m.type_id).value_or(0);
      if (offset < begin || offset >= begin + bytes) continue;
      if (!m.name.empty()) field.path += fmt::format("{}{}", field.path.empty() ? "" : ".", m.name);
      offset -= begin;
      id = m.type_id;
      found = true;
      break;
    }
    if (!found) return {};
    if (offset == 0 && types_->size_of(id).value_or(0) <= size) break;
  }
  field.type = text({id, 0, true});
  return field;
}

}  // namespace skep::verify
