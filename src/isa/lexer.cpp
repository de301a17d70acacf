// The tokens of one line.
#include "isa/lexer.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace skep::isa {
namespace {

constexpr bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r'; }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_word(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '.';
}

/// Longest first, so that the first match is the right one.
constexpr std::array<std::string_view, 27> operators = {"s>>=", "<<=", ">>=", "s/=", "s%=", "s>=", "s<=", "s>", "s<",
                                                        "==",   "!=",  ">=",  "<=",  "+=",  "-=",  "*=",  "/=", "%=",
                                                        "&=",   "|=",  "^=",  "=",   ">",   "<",   "&",   "+",  "-"};

std::string_view operator_at(std::string_view rest) {
  for (const auto candidate : operators)
    if (rest.starts_with(candidate)) return candidate;
  return {};
}

/// A word or a number; `rest` begins with a word character.
Token word_at(std::string_view rest) {
  const auto length = static_cast<std::size_t>(std::find_if_not(rest.begin(), rest.end(), is_word) - rest.begin());
  Token token{Token::Kind::word, rest.substr(0, length)};
  if (!is_digit(rest.front())) return token;
  auto digits = token.text;
  if (digits.size() > 2 && digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X')) {
    token.is_hex = true;
    digits.remove_prefix(2);
  }
  const auto end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, token.value, token.is_hex ? 16 : 10);
  if (error == std::errc() && stop == end) token.kind = Token::Kind::number;
  return token;
}

}  // namespace

std::vector<Token> tokens_of(std::string_view line) {
  std::vector<Token> tokens;
  std::size_t at = 0;
  bool space = true;
  while (at < line.size()) {
    const auto rest = line.substr(at);
    if (is_space(rest.front())) {
      space = true;
      at++;
      continue;
    }
    if (rest.front() == ';' || rest.starts_with("//") || (rest.front() == '#' && space)) break;
    const auto found = operator_at(rest);
    Token token = !found.empty()          ? Token{Token::Kind::symbol, found}
                  : is_word(rest.front()) ? word_at(rest)
                                          : Token{Token::Kind::symbol, rest.substr(0, 1)};
    token.space_before = space;
    at += token.text.size();
    space = false;
    tokens.push_back(token);
  }
  tokens.push_back({Token::Kind::end, {}, 0, false, space});
  return tokens;
}

}  // namespace skep::isa
