// Words, numbers and operators of one line of assembly: the parser's eyes.
//
// Internal to isa/parse.cpp.
#pragma once
#include <optional>
#include <skep/types.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace skep::isa {

struct Token {
  enum class Kind : u8 { word, number, symbol, end };
  Kind kind = Kind::end;
  std::string_view text;
  u64 value = 0;             ///< of a number, without its sign
  bool is_hex = false;       ///< written 0x...
  bool space_before = true;  ///< whitespace in front of it
};

/// The tokens of `line` up to a comment, closed by one of Kind::end. A character that starts nothing becomes a
/// symbol of its own, for the parser to refuse; a number above 64 bits becomes a word.
std::vector<Token> tokens_of(std::string_view line);

}  // namespace skep::isa
