// Commas, indentation and escapes of JSON. Source: RFC 8259.
#include "base/json_writer.hpp"

#include <fmt/format.h>

#include "base/printable.hpp"

namespace skep::base {
namespace {

void append_quoted(std::string& out, std::string_view text) {
  out.push_back('"');
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const char c = text.front();
    if (length == 0) {
      out += "\\ufffd";
    } else if (length > 1 && !begins_with_control(text)) {
      out.append(text.substr(0, length));
    } else if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (c == '\n' || c == '\t' || c == '\r' || c == '\b' || c == '\f') {
      out.push_back('\\');
      out.push_back(c == '\n' ? 'n' : c == '\t' ? 't' : c == '\r' ? 'r' : c == '\b' ? 'b' : 'f');
    } else if (begins_with_control(text)) {  // beyond U+007F the last byte is the character's number
      out += fmt::format("\\u{:04x}", static_cast<u8>(text[length - 1]));
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
