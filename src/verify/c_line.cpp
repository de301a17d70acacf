// Reading one line of C outwards from a column.
#include "verify/c_line.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "base/printable.hpp"

namespace skep::verify::c_line {

namespace {
constexpr auto npos = std::string_view::npos;
constexpr std::size_t longest_line = 4096;  // longer ones are generated, and nobody reads names out of them

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }
std::string_view declared_first(std::string_view text);
bool is_space(char c) { return c == ' ' || c == '\t'; }

bool is_keyword(std::string_view word) {
  static constexpr std::array words = {"if",     "return", "for",     "while",   "do",       "else",
                                       "switch", "case",   "goto",    "break",   "continue", "default",
                                       "sizeof", "asm",    "__asm__", "volatile"};
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// One behind the bracket that closes the one at `at`, or npos.
std::size_t behind_bracket(std::string_view text, std::size_t at) {
  int depth = 0;
  for (; at < text.size(); at++) {
    if (text[at] == '(' || text[at] == '[') depth++;
    if ((text[at] == ')' || text[at] == ']') && --depth == 0) return at + 1;
  }
  return npos;
}

/// The bracket that the one before `end` closes, or npos.
std::size_t opening_bracket(std::string_view text, std::size_t end) {
  int depth = 0;
  for (std::size_t at = end; at-- > 0;) {
    if (text[at] == ')' || text[at] == ']') depth++;
    if ((text[at] == '(' || text[at] == '[') && --depth == 0) return at;
  }
  return npos;
}

std::size_t word_begin(std::string_view text, std::size_t end) {
  while (end > 0 && is_word(text[end - 1])) end--;
  return end;
}

std::size_t skip_spaces_back(std::string_view text, std::size_t end) {
  while (end > 0 && is_space(text[end - 1])) end--;
  return end;
}

/// Where the postfix expression that ends before `end` begins: "a->b[i]" and "(x)->c" as a whole.
std::size_t postfix_begin(std::string_view text, std::size_t end) {
  std::size_t begin = end;
  while (true) {
    std::size_t part = skip_spaces_back(text, begin);
    while (part > 0 && (text[part - 1] == ']' || text[part - 1] == ')')) {
      const std::size_t open = opening_bracket(text, part);
      if (open == npos) return begin;
      part = open;
    }
    part = word_begin(text, part);
    if (part == begin) return begin;
    begin = part;
    const std::size_t before = skip_spaces_back(text, begin);
    if (before >= 2 && text.substr(before - 2, 2) == "->")
      begin = before - 2;
    else if (before >= 1 && text[before - 1] == '.')
      begin = before - 1;
    else
      return begin;
  }
}

/// Where what is assigned to begins, when the '=' is at `end`: the stars before a postfix expression belong to it.
std::size_t lvalue_begin(std::string_view text, std::size_t end) {
  std::size_t begin = postfix_begin(text, end);
  while (true) {
    const std::size_t before = skip_spaces_back(text, begin);
    if (before == 0 || text[before - 1] != '*') return begin;
    const std::size_t left = skip_spaces_back(text, before - 1);  // what makes it a product, or a declaration
    if (left > 0 && (is_word(text[left - 1]) || text[left - 1] == ']' || text[left - 1] == ')')) return begin;
    begin = before - 1;
  }
}

/// Where the postfix expression that begins at `begin` ends.
std::size_t postfix_end(std::string_view text, std::size_t begin) {
  std::size_t at = begin;
  if (at < text.size() && text[at] == '(') {
    at = behind_bracket(text, at);
    if (at == npos) return begin;
  }
  while (at < text.size() && is_word(text[at])) at++;
  while (at < text.size()) {
    std::size_t next = at;
    while (next < text.size() && is_space(text[next])) next++;
    if (next < text.size() && text[next] == '[') {
      const std::size_t end = behind_bracket(text, next);
      if (end == npos) return at;
      at = end;
    } else if (text.substr(next, 2) == "->" || (next < text.size() && text[next] == '.')) {
      std::size_t name = next + (text[next] == '.' ? 1 : 2);
      if (name >= text.size() || !is_word(text[name])) return at;
      at = name;
      while (at < text.size() && is_word(text[at])) at++;
    } else {
      break;
    }
  }
  return at;
}

/// The operand behind a unary operator, casts included.
std::string unary_operand(std::string_view text, std::size_t at) {
  std::size_t begin = at;
  while (at < text.size() && (is_space(text[at]) || text[at] == '*' || text[at] == '&')) at++;
  std::size_t end = postfix_end(text, at);
  while (end < text.size() && end > at && text[at] == '(') {  // a cast: what it is applied to belongs to it
    std::size_t operand = end;
    while (operand < text.size() && (is_space(text[operand]) || text[operand] == '*' || text[operand] == '&'))
      operand++;
    const std::size_t behind = operand < text.size() ? postfix_end(text, operand) : operand;
    if (behind <= operand) break;
    at = operand;
    end = behind;
  }
  return std::string(trimmed(text.substr(begin, end - begin)));
}

/// Whether the character at `at` is an '=' that assigns.
bool assigns(std::string_view text, std::size_t at) {
  if (text[at] != '=' || (at + 1 < text.size() && text[at + 1] == '=')) return false;
  return at == 0 || std::string_view("=!<>").find(text[at - 1]) == npos ||
         (at > 1 && text[at - 1] == text[at - 2] && text[at - 1] != '=');  // <<= and >>=
}

/// The position of the '=' of the statement or declarator that `at` stands in, or npos.
std::size_t assignment_around(std::string_view text, std::size_t at) {
  int depth = 0;        // of brackets that are closed between here and there
  bool beside = false;  // what is seen belongs to another operand or declarator, until a bracket opens
  for (std::size_t before = at; before-- > 0 && text[before] != ';';) {
    const char c = text[before];
    const bool opens = c == '(' || c == '[';
    if (c == ')' || c == ']') depth++;
    if (opens && depth == 0) beside = false;
    if (opens && depth > 0) depth--;
    if (c == ',' && depth == 0) beside = true;
    if (depth == 0 && !beside && assigns(text, before)) return before;
  }
  for (; at < text.size() && text[at] != ';' && text[at] != ','; at++)
    if (assigns(text, at)) return at;
  return npos;
}

/// The type that a line's first declarator has, without its stars: "__u32" of "__u32 a = f(1), b".
std::string_view declared_first(std::string_view text) {
  if (std::ranges::count(text, '(') != std::ranges::count(text, ')')) return {};  // an argument, not a declarator
  text = trimmed(text);
  std::size_t end = 0;
  while (end < text.size() && (is_word(text[end]) || is_space(text[end]) || text[end] == '*')) end++;
  const std::string_view words = trimmed(text.substr(0, end));  // "struct x *a"
  std::string_view type = trimmed(words.substr(0, word_begin(words, words.size())));
  while (type.ends_with('*')) type = trimmed(type.substr(0, type.size() - 1));
  return type;
}

/// The position of the line's plain '=' outside of brackets, or npos.
std::size_t assignment(std::string_view text) {
  int depth = 0;
  for (std::size_t at = 0; at < text.size(); at++) {
    const char c = text[at];
    if (c == '(' || c == '[') depth++;
    if (c == ')' || c == ']') depth--;
    if (depth == 0 && assigns(text, at)) return at;
  }
  return npos;
}
}  // namespace

bool is_identifier(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), is_word) &&
         std::isdigit(static_cast<unsigned char>(text[0])) == 0;
}

std::string_view without_cast(std::string_view expression) {
  expression = trimmed(expression);
  while (expression.starts_with('(')) {
    const std::size_t end = behind_bracket(expression, 0);
    if (end == npos || end == expression.size()) break;  // brackets around all of it
    expression = trimmed(expression.substr(end));
  }
  return expression;
}

std::string_view addressed(std::string_view expression) {
  expression = trimmed(expression);
  return expression.starts_with('&') ? trimmed(expression.substr(1)) : expression;
}

bool heads_loop(std::string_view text) {
  text = trimmed(text);
  while (text.starts_with('}')) text = trimmed(text.substr(1));
  for (std::string_view word : {"for", "while", "do", "bpf_for", "bpf_repeat", "bpf_for_each"}) {
    if (!text.starts_with(word)) continue;
    const std::string_view rest = trimmed(text.substr(word.size()));
    if (word == "do" ? rest.empty() || rest.starts_with('{') : rest.starts_with('(')) return true;
  }
  return false;
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::size_t word_at(std::string_view text, std::string_view name) {
  if (name.empty()) return npos;
  for (std::size_t at = text.find(name); at != npos; at = text.find(name, at + 1)) {
    const bool begins = at == 0 || !is_word(text[at - 1]) || !is_word(name.front());
    const bool ends = at + name.size() >= text.size() || !is_word(text[at + name.size()]) || !is_word(name.back());
    if (begins && ends) return at;
  }
  return npos;
}

bool mentions(std::string_view text, std::string_view name) { return word_at(text, name) != npos; }

std::string printable(std::string_view text) {
  std::string line(text);
  std::ranges::replace(line, '\t', ' ');
  return base::printable(line);
}

std::string printable_lines(std::string_view text) {
  std::string lines(text);
  std::ranges::replace(lines, '\t', ' ');
  return base::printable_text(std::move(lines));
}

std::string expression_at(std::string_view text, u32 column) {
  if (column == 0 || column > text.size() || text.size() > longest_line) return {};
  std::size_t at = column - 1;
  const char c = text[at];
  if (is_word(c)) {
    std::size_t begin = word_begin(text, at + 1), word_end = at;
    while (word_end < text.size() && is_word(text[word_end])) word_end++;
    if (is_keyword(text.substr(begin, word_end - begin))) return {};
    begin = postfix_begin(text, word_end);
    return std::string(text.substr(begin, postfix_end(text, begin) - begin));
  }
  if (c == '*' || c == '&') {
    const std::size_t before = skip_spaces_back(text, at);
    const bool binary = before > 0 && (is_word(text[before - 1]) || text[before - 1] == ']') &&
                        !is_keyword(text.substr(word_begin(text, before), before - word_begin(text, before)));
    if (!binary) return c + unary_operand(text, at + 1);
  }
  if (c == '=') return std::string(trimmed(text.substr(lvalue_begin(text, at), at - lvalue_begin(text, at))));
  if (std::string_view("+-*/%&|^<>").find(c) != npos) {
    std::size_t right = at;
    while (right < text.size() && std::string_view("+-*/%&|^<>=").find(text[right]) != npos) right++;
    const std::string_view operation = text.substr(at, right - at);
    const bool changes = operation == "++" || operation == "--" ||  // and not <=, >=
                         (operation.ends_with('=') && operation.find_first_of("+-*/%&|^") != npos) ||
                         operation == "<<=" || operation == ">>=";
    const std::size_t begin = changes ? lvalue_begin(text, at) : postfix_begin(text, at);
    if (changes && trimmed(text.substr(begin, at - begin)) != "")
      return std::string(trimmed(text.substr(begin, at - begin)));
    const std::string operand = unary_operand(text, right);
    const std::string_view left = trimmed(text.substr(begin, at - begin));
    if (left.empty() || operand.empty()) return std::string(left);
    return fmt::format("{} {} {}", left, text.substr(at, right - at), operand);
  }
  if (c == '(') return std::string(text.substr(at, postfix_end(text, at) - at));
  return {};
}

std::string pointer_of(std::string_view expression) {
  expression = trimmed(expression);
  if (expression.empty()) return {};
  if (expression[0] == '*') return std::string(trimmed(expression.substr(1)));
  if (expression.back() == ']') {
    const std::size_t open = opening_bracket(expression, expression.size());
    if (open == npos) return {};
    const std::string_view base = trimmed(expression.substr(0, open));
    std::string outer = pointer_of(base);  // an array inside of what a pointer leads to
    return outer.empty() ? std::string(base) : outer;
  }
  const std::size_t name = word_begin(expression, expression.size());
  if (name >= 2 && expression.substr(name - 2, 2) == "->") return std::string(trimmed(expression.substr(0, name - 2)));
  if (name >= 1 && expression[name - 1] == '.') return pointer_of(expression.substr(0, name - 1));
  return {};
}

std::string index_of(std::string_view expression) {
  for (std::size_t end = expression.size(); end > 0;) {
    const std::size_t close = expression.rfind(']', end - 1);
    if (close == npos) return {};
    const std::size_t open = opening_bracket(expression, close + 1);
    if (open == npos) return {};
    const std::string_view index = trimmed(expression.substr(open + 1, close - open - 1));
    if (!index.empty() && std::isdigit(static_cast<unsigned char>(index[0])) == 0) return std::string(index);
    end = open;
  }
  return {};
}

std::string array_of(std::string_view expression, std::string_view index) {
  if (index.empty()) return {};
  for (auto at = expression.find(index); at != npos; at = expression.find(index, at + 1)) {
    std::size_t open = skip_spaces_back(expression, at);
    if (open == 0 || expression[open - 1] != '[') continue;
    open--;
    const std::size_t begin = postfix_begin(expression, open);
    return std::string(trimmed(expression.substr(begin, open - begin)));
  }
  return {};
}

std::string assigned(std::string_view text, u32 column) {
  if (text.size() > longest_line) return {};
  std::size_t at = column == 0 || column > text.size() ? npos : assignment_around(text, column - 1);
  if (at == npos) at = assignment(text);
  if (at == npos) return {};
  while (at > 0 && std::string_view("+-*/%&|^<>").find(text[at - 1]) != npos) at--;  // p += ...
  return std::string(trimmed(text.substr(postfix_begin(text, at), at - postfix_begin(text, at))));
}

std::vector<std::string> arguments_of(std::string_view text, std::string_view callee) {
  std::vector<std::string> arguments;
  if (text.size() > longest_line || callee.empty()) return arguments;
  std::size_t at = text.find(callee);
  while (at != npos && at + callee.size() < text.size() && is_word(text[at + callee.size()]))
    at = text.find(callee, at + 1);
  if (at == npos) return arguments;
  at = text.find('(', at);
  if (at == npos) return arguments;
  const std::size_t end = behind_bracket(text, at);
  if (end == npos) return arguments;
  std::size_t begin = at + 1;
  int depth = 0;
  for (std::size_t i = begin; i < end; i++) {
    if (text[i] == '(' || text[i] == '[') depth++;
    const bool closes = text[i] == ')' || text[i] == ']';
    if ((text[i] == ',' && depth == 0) || i + 1 == end) {
      arguments.emplace_back(trimmed(text.substr(begin, i - begin)));
      begin = i + 1;
    }
    if (closes) depth--;
  }
  return arguments;
}

std::string declared_type(std::string_view text, std::string_view name) {
  if (!is_identifier(name) || text.size() > longest_line) return {};
  for (std::size_t at = text.find(name); at != npos; at = text.find(name, at + 1)) {
    if (at == 0 || is_word(text[at - 1])) continue;
    const std::size_t behind = at + name.size();
    if (behind < text.size() && is_word(text[behind])) continue;
    const std::string_view rest = trimmed(text.substr(behind));
    if (!rest.empty() && std::string_view("=;,[)").find(rest[0]) == npos) continue;
    if (rest.starts_with("==")) continue;
    // Words and stars before it, up to something that is neither.
    std::size_t begin = at;
    while (begin > 0 && (is_word(text[begin - 1]) || is_space(text[begin - 1]) || text[begin - 1] == '*')) begin--;
    std::string_view type = trimmed(text.substr(begin, at - begin));
    std::string base;  // of a declarator that is not the first: "__u32 a = 1, *name"
    if (type.find_first_not_of("* ") == npos && begin > 0 && text[begin - 1] == ',') {
      base = std::string(declared_first(text.substr(0, begin - 1)));
      if (base.empty()) continue;
      base.append(type.empty() ? "" : " ").append(type);
      type = base;
    }
    const std::string_view first = type.substr(0, std::min(type.find_first_of(" \t*"), type.size()));
    if (first.empty() || !is_identifier(first) || is_keyword(first)) continue;
    std::string result(type);
    if (rest.starts_with("[")) result += std::string(rest.substr(0, std::min(rest.find(']') + 1, rest.size())));
    return result;
  }
  return {};
}

bool is_unsigned(std::string_view type) {
  if (type.ends_with('*')) return true;
  for (std::string_view word : {"unsigned", "__u", "size_t", "__be", "__le"})
    if (type.find(word) != npos) return type.find("ssize_t") == npos;
  return type.starts_with('u');
}

std::string is_outside(std::string_view name, std::string_view type, std::string_view most) {
  return fmt::format(fmt::runtime(is_unsigned(type) ? "{0} > {1}" : "{0} < 0 || {0} > {1}"), name, most);
}

}  // namespace skep::verify::c_line
