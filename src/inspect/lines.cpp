// Prototypes and source lines as bpftool prints them to the byte.
#include "inspect/lines.hpp"

#include <fmt/format.h>

namespace skep::inspect {
namespace {

/// A type as bpftool spells it in prototypes: each part followed by one space ("struct pt_regs * ").
std::string type_text(const btf::Btf& types, u32 id, int depth = 0) {
  constexpr int deepest = 16;  // hostile BTF may chain pointers for ever
  if (id == 0 || depth > deepest) return "void ";
  const auto type = types.type(id);
  const auto inner = [&] { return type_text(types, type.type_id(), depth + 1); };
  switch (type.kind) {
    case btf::Kind::ptr:
      return inner() + "* ";
    case btf::Kind::const_:
      return "const " + inner();
    case btf::Kind::volatile_:
      return "volatile " + inner();
    case btf::Kind::restrict_:
      return "restrict " + inner();
    case btf::Kind::type_tag:
      return inner();
    case btf::Kind::struct_:
      return fmt::format("struct {} ", type.name);
    case btf::Kind::union_:
      return fmt::format("union {} ", type.name);
    case btf::Kind::enum_:
    case btf::Kind::enum64:
      return fmt::format("enum {} ", type.name);
    case btf::Kind::fwd:
      return fmt::format("{} {} ", type.kind_flag ? "union" : "struct", type.name);
    case btf::Kind::array: {
      const auto array = types.array(type);
      return fmt::format("{}[{}]", type_text(types, array.element_id, depth + 1), array.count);
    }
    default:
      return fmt::format("{} ", type.name);
  }
}

/// A source line without its indentation.
std::string_view trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t");
  return begin == std::string_view::npos ? std::string_view() : text.substr(begin);
}

}  // namespace

std::string prototype(const btf::Btf* types, const FunctionInfo& function) {
  if (types == nullptr || function.type_id == 0 || function.type_id >= types->type_count()) return function.name;
  const auto func = types->type(function.type_id);
  if (func.kind != btf::Kind::func || types->type(func.type_id()).kind != btf::Kind::func_proto) return function.name;
  const auto proto = types->type(func.type_id());
  std::string text = type_text(*types, proto.type_id()) + std::string(func.name) + "(";
  bool first = true;
  for (const auto& param : types->params(proto)) {
    if (!first) text += ", ";
    first = false;
    std::string part = param.type_id == 0 ? "..." : type_text(*types, param.type_id) + std::string(param.name);
    if (part.ends_with(' ')) part.pop_back();
    text += part;
  }
  return text + ")";
}

std::string line_text(const SourceLine& line, bool with_numbers) {
  std::string text = fmt::format("; {}", trimmed(line.text));
  if (with_numbers) text += fmt::format(" [file:{} line_num:{} line_col:{}]", line.file, line.line, line.column);
  return text + "\n";
}

void write_line(base::JsonWriter& json, const SourceLine& line, bool with_numbers) {
  json.member("src", trimmed(line.text));
  if (!with_numbers) return;
  json.member("file", line.file);
  if (line.line != 0) json.member("line_num", line.line);  // 0: clang 14 says that it comes from no line
  if (line.column != 0) json.member("line_col", line.column);
}

}  // namespace skep::inspect
