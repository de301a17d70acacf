// A scan for function heads with too many parameters; each becomes a head with the context alone and a line of locals.
#include "compile/wide_handlers.hpp"

#include <fmt/format.h>

#include <vector>

#include "compile/scan.hpp"

namespace skep::compile {
namespace {

constexpr std::size_t most_parameters = 5;          // in registers
constexpr std::size_t most_with_registers = 1 + 6;  // the context, and six arguments that the registers hold

bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

std::string_view trim(std::string_view s) {
  while (!s.empty() && is_space(s.front())) s.remove_prefix(1);
  while (!s.empty() && is_space(s.back())) s.remove_suffix(1);
  return s;
}

std::string one_line(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c == '\n' || c == '\r') c = ' ';
  return out;
}

std::vector<std::string_view> split_parameters(std::string_view text) {
  std::vector<std::string_view> out;
  int depth = 0;
  std::size_t begin = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '(' || text[i] == '[') ++depth;
    if (text[i] == ')' || text[i] == ']') --depth;
    if (text[i] != ',' || depth != 0) continue;
    out.push_back(trim(text.substr(begin, i - begin)));
    begin = i + 1;
  }
  out.push_back(trim(text.substr(begin)));
  return out;
}

/// "char *const argv" -> {"char *const ", "argv"}; the name is empty where the parameter has none.
struct Declaration {
  std::string_view type, name;
};
Declaration split_declaration(std::string_view parameter) {
  std::size_t at = parameter.size();
  while (at > 0 && is_word(parameter[at - 1])) --at;
  if (at == 0) return {parameter, {}};
  return {parameter.substr(0, at), parameter.substr(at)};
}

bool takes_callers_registers(std::string_view function) {
  for (const std::string_view prefix : {"syscall__", "kprobe__sys_", "kprobe____x64_sys_", "kprobe____arm64_sys_"})
    if (function.starts_with(prefix)) return true;
  return false;
}

/// The statements that declare the parameters, or "" for what is no handler of that kind.
std::string declarations(std::string_view function, const std::vector<std::string_view>& parameters) {
  if (parameters.size() <= most_parameters || parameters.size() > most_with_registers) return {};
  if (parameters[0].find("pt_regs") == parameters[0].npos) return {};
  const std::string_view context = split_declaration(parameters[0]).name;
  std::string out;
  for (std::size_t i = 1; i < parameters.size(); ++i) {
    const auto [type, name] = split_declaration(parameters[i]);
    const std::string_view plain_type = trim(type);
    if (name.empty() || plain_type.empty() || parameters[i].find_first_of("([") != parameters[i].npos) return {};
    out += fmt::format(" {0} {1} = ({0})SKEP_{2}ARGUMENT({3}, {4});", one_line(plain_type), name,
                       takes_callers_registers(function) ? "CALLERS_" : "", context, i);
  }
  return out;
}

}  // namespace

std::string rewrite_wide_handlers(std::string_view source) {
  const std::string clean = blank_comments_and_strings(source);
  std::string out;
  std::size_t copied = 0;
  for (std::size_t open = clean.find('('); open != clean.npos; open = clean.find('(', open + 1)) {
    std::size_t end = open;
    while (end > 0 && is_space(clean[end - 1])) --end;
    std::size_t begin = end;
    while (begin > 0 && is_word(clean[begin - 1])) --begin;
    if (begin == end) continue;
    int depth = 0;
    std::size_t close = open;
    for (; close < clean.size(); ++close) {
      if (clean[close] == '(') ++depth;
      if (clean[close] == ')' && --depth == 0) break;
    }
    std::size_t body = close + 1;
    while (body < clean.size() && is_space(clean[body])) ++body;
    if (body >= clean.size() || clean[body] != '{') continue;
    const auto parameters = split_parameters(std::string_view(clean).substr(open + 1, close - open - 1));
    const std::string locals = declarations(std::string_view(clean).substr(begin, end - begin), parameters);
    if (locals.empty()) continue;
    // The context stays; what stood behind it becomes blank, line ends excepted.
    const std::size_t comma = clean.find(',', open);
    out += source.substr(copied, comma - copied);
    for (std::size_t i = comma; i < close; ++i) out += clean[i] == '\n' ? '\n' : ' ';
    out += source.substr(close, body + 1 - close);
    out += locals;
    copied = body + 1;
  }
  if (copied == 0) return {};
  out += source.substr(copied);
  return out;
}

}  // namespace skep::compile
