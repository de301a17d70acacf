// JSON out, piece by piece, in the two layouts bpftool prints: compact, and --pretty.
//
// Why our own: scripts compare bpftool's output to the byte, key order included, and a map dump of a
// million entries must not be held as a tree.
#pragma once
#include <skep/types.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace skep::base {

/// Appends to a string. Callers open and close in order; keys only inside objects.
class JsonWriter {
 public:
  explicit JsonWriter(bool pretty = false, std::size_t depth = 0) : depth_(depth), pretty_(pretty) {}

  void begin_object() { begin('{'); }
  void end_object() { end('}'); }
  void begin_array() { begin('['); }
  void end_array() { end(']'); }
  void key(std::string_view name);

  void string(std::string_view text);
  void number(u64 value);
  void number(s64 value);
  void boolean(bool value);
  void null();
  /// A value that is JSON already.
  void raw(std::string_view json);

  void member(std::string_view name, std::string_view text) { key(name), string(text); }
  void member(std::string_view name, const char* text) { key(name), string(text); }
  void member(std::string_view name, u64 value) { key(name), number(value); }
  void member(std::string_view name, u32 value) { key(name), number(u64{value}); }
  void member(std::string_view name, s64 value) { key(name), number(value); }
  void member(std::string_view name, int value) { key(name), number(s64{value}); }
  void member(std::string_view name, bool value) { key(name), boolean(value); }

  const std::string& text() const noexcept { return text_; }
  /// Hands out what was written so far and starts with an empty text at the same place.
  std::string take();

 private:
  void begin(char bracket);
  void end(char bracket);
  void separate();
  void line();

  std::string text_;
  std::size_t depth_ = 0;
  bool pretty_ = false;
  bool follows_ = false;  ///< a sibling was written before: a comma is due
};

/// The text as a JSON string literal with its quotes. Bytes that are not UTF-8 become U+FFFD.
std::string json_quote(std::string_view text);

}  // namespace skep::base
