// See c_text.hpp.
#include "kit/c_text.hpp"

#include <cctype>

namespace skep::tools {
namespace {

/// Reads C from left to right and knows what is inside of brackets and quotes.
class Nesting {
 public:
  /// Whether `c` itself stands outside, brackets that open or close included.
  bool outside(char c) {
    if (escaped_) {
      escaped_ = false;
      return false;
    }
    if (quote_ != 0) {
      if (c == '\\') escaped_ = true;
      if (c == quote_) quote_ = 0;
      return false;
    }
    if (c == '"' || c == '\'') {
      quote_ = c;
      return false;
    }
    if (c == '(' || c == '[') return depth_++ == 0;
    if (c == ')' || c == ']') return --depth_ == 0;
    return depth_ == 0;
  }

 private:
  int depth_ = 0;
  char quote_ = 0;
  bool escaped_ = false;
};

}  // namespace

void skip_spaces(std::string_view& rest) {
  while (!rest.empty() && std::isspace(static_cast<unsigned char>(rest.front()))) rest.remove_prefix(1);
}

std::string trimmed(std::string_view text) {
  skip_spaces(text);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.remove_suffix(1);
  return std::string(text);
}

std::optional<std::string> take_brackets(std::string_view& rest) {
  Nesting nesting;
  for (std::size_t i = 0; i < rest.size(); ++i) {
    if (!nesting.outside(rest[i]) || rest[i] != ')') continue;
    std::string inside(rest.substr(1, i - 1));
    rest.remove_prefix(i + 1);
    return inside;
  }
  return std::nullopt;
}

std::size_t find_outside(std::string_view text, char wanted) {
  Nesting nesting;
  for (std::size_t i = 0; i < text.size(); ++i)
    if (nesting.outside(text[i]) && text[i] == wanted) return i;
  return std::string_view::npos;
}

std::vector<std::string> split_outside(std::string_view text, char separator) {
  std::vector<std::string> out;
  for (std::size_t at; (at = find_outside(text, separator)) != std::string_view::npos;) {
    out.push_back(trimmed(text.substr(0, at)));
    text.remove_prefix(at + 1);
  }
  if (std::string last = trimmed(text); !last.empty()) out.push_back(std::move(last));
  return out;
}

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$'; }

}  // namespace skep::tools
