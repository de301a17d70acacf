// Pieces of C on the command line: brackets and quotes are counted, everything between them is C and not ours to judge.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skep::tools {

void skip_spaces(std::string_view& rest);
std::string trimmed(std::string_view text);

/// What stands between the bracket that `rest` begins with and its partner, taken off; nullopt where there is none.
std::optional<std::string> take_brackets(std::string_view& rest);

/// The place of the first `wanted` outside of brackets and quotes, or npos.
std::size_t find_outside(std::string_view text, char wanted);

/// At each `separator` outside of brackets and quotes, trimmed; an empty last part is none.
std::vector<std::string> split_outside(std::string_view text, char separator);

/// Whether a character may be part of a name, or of a word of ours such as $pid.
bool is_word(char c);

}  // namespace skep::tools
