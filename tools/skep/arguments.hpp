// bpftool's grammar: words in order, with -j and -p (and its -f and -n, which change nothing here) anywhere.
#pragma once
#include <skep/result.hpp>
#include <skep/types.hpp>
#include <string>
#include <vector>

#include "base/json_writer.hpp"
#include "verb.hpp"

namespace skep::tools {

/// The words of a `prog`, `map`, `link` or `btf` line without the options that may stand anywhere.
struct Words {
  std::vector<std::string> words;
  std::size_t position = 0;
  bool json = false;
  bool pretty = false;  ///< implies json
  bool help = false;

  explicit Words(const Arguments& arguments);
  Form form() const { return pretty ? Form::pretty : json ? Form::json : Form::text; }
  bool done() const { return position >= words.size(); }
  /// The next word, or "" at the end.
  std::string next() { return done() ? std::string() : words[position++]; }
  bool take(std::string_view word);
  /// invalid_argument when something is left over.
  Result<void> end() const;
};

/// A verb that is words: prints `usage` where it is asked for or nothing is said (exit 2), else acts and tells errors.
int run_words(const Arguments& arguments, std::string_view usage, Result<int> (*act)(Words&));

/// Writes what a JsonWriter holds, with a newline.
void print(base::JsonWriter& json);

/// `key` or `value` data: bytes ("1 0 0 0", "hex 01 00"), or one number that fills `size` bytes (1, 2, 4, 8).
Result<std::vector<std::byte>> parse_data(Words& words, u32 size, std::string_view what);

}  // namespace skep::tools
