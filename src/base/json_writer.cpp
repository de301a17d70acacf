// Commas, indentation and escapes of JSON. Source: RFC 8259.
#include "base/json_writer.hpp"

#include <fmt/format.h>

namespace skep::base {
namespace {

/// Length of the valid UTF-8 sequence at the start of `text`, or 0.
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<u8>(text[i]); };
  const u8 first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xc2 && first < 0xe0   ? 2
                             : first >= 0xe0 && first < 0xf0 ? 3
                             : first >= 0xf0 && first < 0xf5 ? 4
                                                             : 0;
  if (length == 0 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  const bool overlong = (first == 0xe0 && byte(1) < 0xa0) || (first == 0xf0 && byte(1) < 0x90);
  const bool outside = (first == 0xed && byte(1) >= 0xa0) || (first == 0xf4 && byte(1) >= 0x90);
  return overlong || outside ? 0 : length;
}

void append_quoted(std::string& out, std::string_view text) {
  out.push_back('"');
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const char c = text.front();
    if (length == 0) {
      out += "\\ufffd";
    } else if (length > 1) {
      out.append(text.substr(0, length));
    } else if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (c == '\n' || c == '\t' || c == '\r' || c == '\b' || c == '\f') {
      out.push_back('\\');
      out.push_back(c == '\n' ? 'n' : c == '\t' ? 't' : c == '\r' ? 'r' : c == '\b' ? 'b' : 'f');
    } else if (static_cast<u8>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04x}", static_cast<u8>(c));
    } else {
      out.push_back(c);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  out.push_back('"');
}

}  // namespace

std::string json_quote(std::string_view text) {
  std::string out;
  append_quoted(out, text);
  return out;
}

void JsonWriter::line() {
  if (!pretty_) return;
  text_.push_back('\n');
  text_.append(depth_ * 4, ' ');
}

void JsonWriter::separate() {
  if (follows_) text_.push_back(',');
  follows_ = true;
}

void JsonWriter::begin(char bracket) {
  separate();
  text_.push_back(bracket);
  ++depth_;
  follows_ = false;
}

void JsonWriter::end(char bracket) {
  --depth_;
  if (follows_) line();
  text_.push_back(bracket);
  follows_ = true;
}

void JsonWriter::key(std::string_view name) {
  separate();
  line();
  follows_ = false;
  append_quoted(text_, name);
  text_ += pretty_ ? ": " : ":";
}

void JsonWriter::string(std::string_view text) {
  separate();
  append_quoted(text_, text);
}
void JsonWriter::raw(std::string_view json) {
  separate();
  text_ += json;
}
void JsonWriter::number(u64 value) { raw(fmt::format_int(value).c_str()); }
void JsonWriter::number(s64 value) { raw(fmt::format_int(value).c_str()); }
void JsonWriter::boolean(bool value) { raw(value ? "true" : "false"); }
void JsonWriter::null() { raw("null"); }

std::string JsonWriter::take() {
  std::string out;
  out.swap(text_);
  return out;
}

}  // namespace skep::base
