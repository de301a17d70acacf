// Reading and writing in one walk. See rust_v0.hpp.
//
// Everything that branches writes at least one character, so the bound of the text bounds the time, too, whatever the
// references lead to; a chain that writes nothing is bounded by its depth.
#include "symbols/rust_v0.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <skep/types.hpp>
#include <utility>

namespace skep::symbols {

namespace {

constexpr int most_depth = 256;

constexpr std::array<std::string_view, 26> basic_types = {
    "i8",   "bool", "char", "f64", "str", "f32", "",    "u8", "isize", "usize", "",    "i32", "u32",
    "i128", "u128", "_",    "",    "",    "i16", "u16", "()", "...",   "",      "i64", "u64", "!"};

std::string_view basic_type(char letter) {
  return letter >= 'a' && letter <= 'z' ? basic_types[static_cast<std::size_t>(letter - 'a')] : std::string_view();
}

class Name {
 public:
  Name(std::string_view text, std::size_t longest) : text_(text), longest_(longest) {}

  std::optional<std::string> whole() {
    path(true);
    if (!failed_ && !at_end() && peek() >= 'A' && peek() <= 'Z') silently([&] { path(false); });  // who instantiated it
    if (failed_ || !at_end()) return std::nullopt;
    return std::move(out_);
  }

 private:
  // --- letters

  bool at_end() const { return at_ >= text_.size(); }
  char peek() const { return at_end() ? '\0' : text_[at_]; }
  bool take(char letter) {
    if (failed_ || peek() != letter || at_end()) return false;
    ++at_;
    return true;
  }
  char next() {
    if (at_end()) fail();
    return failed_ ? '\0' : text_[at_++];
  }
  void fail() { failed_ = true; }
  void write(std::string_view text) {
    if (silent_ || failed_) return;
    if (out_.size() + text.size() > longest_) return fail();
    out_ += text;
  }
  template <class Body>
  void silently(Body body) {
    const bool before = std::exchange(silent_, true);
    body();
    silent_ = before;
  }
  /// Calls `one` until the list ends, with what stands between two of them.
  template <class One>
  std::size_t list(std::string_view between, One one) {
    std::size_t count = 0;
    while (!failed_ && !take('E')) {
      if (count++ != 0) write(between);
      one();
    }
    return count;
  }

  // --- numbers and identifiers

  /// "_" is 0, "0_" 1, "Z_" 62.
  u64 base62() {
    if (take('_')) return 0;
    u64 value = 0;
    while (!failed_ && !take('_')) {
      const char c = next();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'z' ? c - 'a' + 10
                        : c >= 'A' && c <= 'Z' ? c - 'A' + 36
                                               : -1;
      if (digit < 0 || __builtin_mul_overflow(value, 62, &value) || __builtin_add_overflow(value, digit, &value))
        fail();
    }
    if (__builtin_add_overflow(value, 1, &value)) fail();
    return value;
  }
  u64 optional_number(char letter) { return take(letter) ? base62() + 1 : 0; }

  std::string identifier() {
    const bool is_punycode = take('u');
    std::size_t length = 0;
    if (peek() < '0' || peek() > '9') fail();
    if (!take('0'))
      while (!failed_ && peek() >= '0' && peek() <= '9' && length <= text_.size())
        length = length * 10 + static_cast<std::size_t>(next() - '0');
    take('_');
    if (length > text_.size() - at_) fail();
    if (failed_) return {};
    const std::string_view name = text_.substr(at_, length);
    at_ += length;
    return is_punycode ? fmt::format("punycode{{{}}}", name) : std::string(name);
  }

  // --- references and depth

  template <class Body>
  void deeper(Body body) {
    if (++depth_ > most_depth) fail();
    if (!failed_) body();
    --depth_;
  }

  /// Behind its "B": the same as at an earlier place.
  template <class Body>
  void reference(Body body) {
    const std::size_t start = at_ - 1;
    const u64 target = base62();
    if (failed_ || target >= start) return fail();
    if (silent_) return;
    const std::size_t back = std::exchange(at_, static_cast<std::size_t>(target));
    body();
    at_ = back;
  }

  // --- paths

  /// `is_value`: generic arguments are written "::<T>".
  void path(bool is_value) {
    if (open_path(is_value)) write(">");
  }

  /// True: a list of generic arguments is open behind it.
  bool open_path(bool is_value) {
    bool open = false;
    deeper([&] {
      switch (next()) {
        case 'C':
          optional_number('s');
          write(identifier());
          break;
        case 'N':
          nested(is_value);
          break;
        case 'M':
          implementation();
          write("<");
          type();
          write(">");
          break;
        case 'X':
          implementation();
          [[fallthrough]];
        case 'Y':
          write("<");
          type();
          write(" as ");
          path(false);
          write(">");
          break;
        case 'I':
          path(is_value);
          write(is_value ? "::<" : "<");
          list(", ", [&] { argument(); });
          open = true;
          break;
        case 'B':
          reference([&] { open = open_path(is_value); });
          break;
        default:
          fail();
      }
    });
    return open;
  }

  /// Where an impl stands says nothing to a reader.
  void implementation() {
    optional_number('s');
    silently([&] { path(false); });
  }

  void nested(bool is_value) {
    const char kind = next();
    if ((kind < 'a' || kind > 'z') && (kind < 'A' || kind > 'Z')) return fail();
    path(is_value);
    const u64 number = optional_number('s');
    const std::string name = identifier();
    if (kind >= 'a' && kind <= 'z') return write(name.empty() ? "" : "::" + name);
    const std::string what = kind == 'C' ? "closure" : kind == 'S' ? "shim" : std::string(1, kind);
    write(fmt::format("::{{{}{}{}#{}}}", what, name.empty() ? "" : ":", name, number));
  }

  void argument() {
    if (take('L'))
      lifetime(base62());
    else if (take('K'))
      constant();
    else
      type();
  }

  // --- types

  void type() {
    deeper([&] {
      const char letter = next();
      if (const std::string_view basic = basic_type(letter); !basic.empty()) return write(basic);
      switch (letter) {
        case 'R':
        case 'Q':
          write("&");
          if (take('L'))
            if (const u64 number = base62(); number != 0) lifetime(number), write(" ");
          write(letter == 'Q' ? "mut " : "");
          return type();
        case 'P':
        case 'O':
          write(letter == 'P' ? "*const " : "*mut ");
          return type();
        case 'A':
        case 'S':
          write("[");
          type();
          if (letter == 'A') write("; "), constant();
          return write("]");
        case 'T': {
          write("(");
          const std::size_t count = list(", ", [&] { type(); });
          return write(count == 1 ? ",)" : ")");
        }
        case 'F':
          return bound([&] { function(); });
        case 'D':
          write("dyn ");
          bound([&] { list(" + ", [&] { trait(); }); });
          if (!take('L')) return fail();
          if (const u64 number = base62(); number != 0) write(" + "), lifetime(number);
          return;
        case 'B':
          return reference([&] { type(); });
        default:
          --at_;
          return path(false);
      }
    });
  }

  /// Behind "for<'a, 'b>", where there is one.
  template <class Body>
  void bound(Body body) {
    const u64 count = optional_number('G');
    if (count > text_.size()) return fail();
    if (count != 0) write("for<");
    for (u64 i = 0; i < count; ++i) {
      if (i != 0) write(", ");
      ++lifetimes_;
      lifetime(1);
    }
    if (count != 0) write("> ");
    body();
    lifetimes_ -= count;
  }

  void function() {
    if (take('U')) write("unsafe ");
    if (take('K')) {
      std::string convention = take('C') ? "C" : identifier();
      for (char& c : convention)
        if (c == '_') c = '-';
      write("extern \"" + convention + "\" ");
    }
    write("fn(");
    list(", ", [&] { type(); });
    write(")");
    if (take('u')) return;  // nothing
    write(" -> ");
    type();
  }

  void trait() {
    bool open = open_path(false);
    while (take('p')) {
      write(open ? ", " : "<");
      open = true;
      write(identifier() + " = ");
      type();
    }
    if (open) write(">");
  }

  /// Counted from the innermost that is bound; 0: one that has been erased.
  void lifetime(u64 number) {
    if (number == 0) return write("'_");
    if (number > lifetimes_) return fail();
    const u64 index = lifetimes_ - number;
    write(index < 26 ? fmt::format("'{}", static_cast<char>('a' + index)) : fmt::format("'_{}", index));
  }

  // --- constants

  void constant() {
    deeper([&] {
      const char letter = next();
      if (letter == 'p') return write("_");
      if (letter == 'B') return reference([&] { constant(); });
      const std::string_view type = basic_type(letter);
      const bool is_number = type.size() > 1 && (type[0] == 'i' || type[0] == 'u');
      if (!is_number && type != "bool" && type != "char") return fail();  // of other types: newer than the RFC
      const bool is_negative = take('n');
      const std::size_t begin = at_;
      u64 value = 0;
      while (!failed_ && !take('_')) {
        const char c = next();
        const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) fail();
        value = value << 4 | static_cast<u64>(digit);
      }
      if (failed_) return;
      const std::string_view digits = text_.substr(begin, at_ - 1 - begin);
      if (type == "bool") return write(value == 1 ? "true" : "false");
      if (type == "char")
        return write(value >= 0x20 && value < 0x7f ? fmt::format("'{}'", static_cast<char>(value))
                                                   : fmt::format("'\\u{{{:x}}}'", value));
      write(is_negative ? "-" : "");
      write(digits.size() > 16 ? fmt::format("0x{}", digits) : fmt::format("{}", value));
    });
  }

  std::string_view text_;
  std::size_t longest_, at_ = 0;
  std::string out_;
  bool failed_ = false, silent_ = false;
  int depth_ = 0;
  u64 lifetimes_ = 0;  ///< bound here
};

}  // namespace

std::optional<std::string> rust_v0_name(std::string_view mangled, std::size_t longest) {
  if (!mangled.starts_with("_R")) return std::nullopt;
  std::string_view suffix = mangled.substr(std::min(mangled.find_first_of(".$"), mangled.size()));
  mangled.remove_suffix(suffix.size());
  suffix = suffix.substr(0, suffix.find(".llvm."));
  auto name = Name(mangled.substr(2), longest).whole();
  if (name && !suffix.empty()) *name += fmt::format(" [clone {}]", suffix);
  return name;
}

}  // namespace skep::symbols
