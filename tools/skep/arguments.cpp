// See arguments.hpp.
#include "arguments.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cstring>

namespace skep::tools {

Words::Words(const Arguments& arguments) {
  for (const auto& word : arguments) {
    if (word == "-j" || word == "--json") {
      json = true;
    } else if (word == "-p" || word == "--pretty") {
      json = pretty = true;
    } else if (word == "-f" || word == "--bpffs" || word == "-n" || word == "--nomount") {
      // bpftool's: pins are always shown here, and nothing is ever mounted
    } else if (word == "-h" || word == "--help" || word == "help") {
      help = true;
    } else {
      words.push_back(word);
    }
  }
}

bool Words::take(std::string_view word) {
  if (done() || words[position] != word) return false;
  ++position;
  return true;
}

Result<void> Words::end() const {
  if (done()) return {};
  return fail(Code::invalid_argument, fmt::format("'{}' is not expected here", words[position]));
}

void print(base::JsonWriter& json) { fmt::print("{}\n", json.take()); }

namespace {

/// A number in C's notation (decimal, 0x, leading 0 for octal), or plain hex digits.
Result<u64> parse_number(std::string_view text, bool hex, std::string_view what) {
  std::string_view digits = text;
  const bool negative = !hex && digits.starts_with("-");
  if (negative) digits.remove_prefix(1);
  int base = hex ? 16 : 10;
  if (digits.starts_with("0x") || digits.starts_with("0X")) {
    base = 16;
    digits.remove_prefix(2);
  } else if (!hex && digits.size() > 1 && digits.starts_with("0")) {
    base = 8;
  }
  u64 value = 0;
  const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (digits.empty() || error != std::errc() || stop != digits.data() + digits.size())
    return fail(Code::invalid_argument, fmt::format("{}: '{}' is not a {}number", what, text, hex ? "hex " : ""));
  return negative ? u64{0} - value : value;
}

bool fits(u64 value, bool negative, u32 size) {
  if (size >= 8) return true;
  const u64 limit = u64{1} << (8 * size);
  return negative ? value >= u64{0} - limit / 2 : value < limit;
}

}  // namespace

Result<std::vector<std::byte>> parse_data(Words& words, u32 size, std::string_view what) {
  const bool hex = words.take("hex");
  std::vector<std::string> tokens;
  constexpr std::string_view ends[] = {"key", "value", "any", "exist", "noexist", "hex"};
  while (!words.done()) {
    const std::string& word = words.words[words.position];
    if (std::find(std::begin(ends), std::end(ends), word) != std::end(ends)) break;
    tokens.push_back(words.next());
  }
  std::vector<std::byte> bytes(size);
  const bool one_number = tokens.size() == 1 && !hex && (size == 2 || size == 4 || size == 8);
  if (one_number) {
    const u64 value = SKEP_TRY(parse_number(tokens[0], false, what));
    if (!fits(value, tokens[0].starts_with("-"), size))
      return fail(Code::invalid_argument, fmt::format("{}: {} does not fit into {} bytes", what, tokens[0], size));
    std::memcpy(bytes.data(), &value, size);
    return bytes;
  }
  if (tokens.size() != size)
    return fail(Code::invalid_argument,
                fmt::format("{}: {} bytes given, this map takes {} (bytes in memory order, or one number)", what,
                            tokens.size(), size));
  for (u32 i = 0; i < size; ++i) {
    const u64 value = SKEP_TRY(parse_number(tokens[i], hex, what));
    if (value > 255)
      return fail(Code::invalid_argument, fmt::format("{}: byte {} is {}, more than 255", what, i, tokens[i]));
    bytes[i] = static_cast<std::byte>(value);
  }
  return bytes;
}

int run_words(const Arguments& arguments, std::string_view usage, Result<int> (*act)(Words&)) {
  Words words(arguments);
  if (words.json && !words.help && words.done()) return complain("nothing is asked for (see --help)", 2, words.form());
  if (words.help || words.done()) {
    fmt::print("{}", usage);
    return words.help ? 0 : 2;
  }
  const auto status = act(words);
  return status ? *status : complain(status.error(), words.form());
}

}  // namespace skep::tools
