// Lines, statements and functions of a C source; differences.
#include "explain/source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "verify/c_line.hpp"

namespace skep::explain {

namespace c_line = verify::c_line;
using c_line::trimmed;

namespace {
constexpr auto npos = std::string_view::npos;
constexpr u32 longest_statement = 12;             // lines
constexpr std::size_t largest_table = 4'000'000;  // cells of a difference

/// What stands behind SEC("...") at the beginning of a definition.
std::string_view without_section(std::string_view text) {
  text = trimmed(text);
  if (!text.starts_with("SEC(")) return text;
  const auto end = text.find("\")");
  return end == npos ? std::string_view() : trimmed(text.substr(end + 2));
}

bool ends_statement(std::string_view code) {
  return code.empty() || code[0] == '#' || code.back() == ';' || code.back() == '{' || code.back() == '}' ||
         code.back() == ':';
}

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }
}  // namespace

Source::Source(std::string_view text) {
  while (!text.empty()) {
    const auto end = text.find('\n');
    lines_.emplace_back(text.substr(0, end));
    text = end == npos ? std::string_view() : text.substr(end + 1);
  }
}

const std::string& Source::line(u32 number) const {
  static const std::string none;
  return number >= 1 && number <= lines_.size() ? lines_[number - 1] : none;
}

void Source::insert_before(u32 number, std::string line) {
  lines_.insert(lines_.begin() + (number - 1), std::move(line));
}

std::string Source::text() const {
  std::string all;
  for (const std::string& l : lines_) all.append(l).append(1, '\n');
  return all;
}

u32 Source::statement_begin(u32 number) const {
  u32 begin = number;
  while (begin > 1 && number - begin < longest_statement && !ends_statement(code_of(line(begin - 1)))) begin--;
  return begin;
}

u32 Source::statement_end(u32 number) const {
  u32 end = number;
  while (end < size() && end - number < longest_statement && !ends_statement(code_of(line(end)))) end++;
  return end;
}

std::string Source::statement(u32 number) const {
  std::string all;
  for (u32 n = statement_begin(number); n <= statement_end(number); n++)
    all += fmt::format("{}{}", all.empty() ? "" : " ", code_of(line(n)));
  return all;
}

std::string Source::indent(u32 number) const {
  const std::string& l = line(number);
  return l.substr(0, std::min(l.find_first_not_of(" \t"), l.size()));
}

std::optional<Source::Function> Source::function_at(u32 number) const {
  Function f;
  for (u32 n = std::min(number, size()); n >= 1; n--) {  // a line that begins at the margin and opens a parameter list
    const std::string& l = line(n);
    if (l.empty() || !is_word(l[0]) || without_section(l).find('(') == npos) continue;
    f.begin = n;
    break;
  }
  if (f.begin == 0) return std::nullopt;
  int depth = 0, brackets = 0;
  for (u32 n = f.begin; n <= size() && f.end == 0; n++) {
    for (char c : code_of(line(n))) {
      if (c == '(') brackets++;
      if (c == ')') brackets--;
      if (c == '{' && brackets == 0 && depth++ == 0) f.body = n;  // a parameter's type may have braces, too
      if (c == '}' && brackets == 0 && --depth == 0) f.end = n;
      if (f.body == 0) f.signature += c;
    }
    if (f.body == 0) f.signature += ' ';
  }
  if (f.body == 0 || f.end < number) return std::nullopt;
  return f;
}

std::string Source::giving_up(const Function& f, u32 number, std::string_view otherwise) const {
  std::string_view signature = without_section(f.signature);
  for (std::string_view word : {"static", "inline", "__always_inline", "__noinline", "__hidden"})
    while (signature.starts_with(word)) signature = trimmed(signature.substr(word.size()));
  if (signature.starts_with("void ") && !trimmed(signature.substr(5)).starts_with("*")) return "return;";
  std::string found;
  for (u32 n = f.body; n <= f.end; n++) {  // as the guards of this function do, the nearest above first
    const std::string_view code = code_of(line(n));
    const auto at = code.find("return ");
    if (at == npos || (at > 0 && is_word(code[at - 1]))) continue;
    const std::string_view value = trimmed(code.substr(at + 7, code.find(';', at) - at - 7));
    const bool plain =
        !value.empty() && std::all_of(value.begin(), value.end(), [](char c) { return is_word(c) || c == '-'; });
    const bool guards = at > 0 || code_of(line(n - 1)).starts_with("if");
    if (!plain) continue;
    const bool constant = std::isdigit(static_cast<unsigned char>(value[0])) != 0 || value[0] == '-' ||
                          std::isupper(static_cast<unsigned char>(value[0])) != 0 || value == "false" ||
                          value == "true";
    if (guards && constant && (found.empty() || n < number)) found = value;
  }
  if (found.empty() && (signature.starts_with("bool ") || signature.starts_with("_Bool "))) return "return false;";
  return found.empty() ? std::string(otherwise) : fmt::format("return {};", found);
}

std::optional<u32> Source::assignment_with(u32 from, u32 to, std::string_view word) const {
  for (u32 n = from; n <= std::min(to, size()); n++)
    if (c_line::mentions(right_side(line(n)), word) && !c_line::assigned(line(n)).empty()) return n;
  return std::nullopt;
}

std::optional<u32> Source::declaration(u32 from, u32 to, std::string_view name) const {
  std::optional<u32> found;
  for (u32 n = from; n <= std::min(to, size()); n++)
    if (c_line::assigned(code_of(line(n))) == name || !c_line::declared_type(code_of(line(n)), name).empty()) found = n;
  return found;
}

std::string_view code_of(std::string_view line) {
  if (const auto comment = line.find("//"); comment != npos) line = line.substr(0, comment);
  line = trimmed(line);
  if (line.ends_with("*/"))
    if (const auto comment = line.rfind("/*"); comment != npos) line = trimmed(line.substr(0, comment));
  return line;
}

std::string_view word_before(std::string_view text, std::size_t end) {
  std::size_t begin = end;
  while (begin > 0 && is_word(text[begin - 1])) begin--;
  return text.substr(begin, end - begin);
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  for (std::size_t at = 0; at < text.size(); at++) {
    const std::size_t begin = at;
    while (at < text.size() && is_word(text[at])) at++;
    if (at > begin) words.push_back(text.substr(begin, at - begin));
  }
  return words;
}

std::string right_side(std::string_view line) {
  line = code_of(line);
  const std::string left = c_line::assigned(line);
  if (left.empty()) return {};
  const auto at = line.find('=', line.find(left) + left.size());
  if (at == npos) return {};
  std::string_view right = trimmed(line.substr(at + 1));
  if (right.ends_with(';')) right.remove_suffix(1);
  return std::string(trimmed(right));
}

std::optional<std::string> replaced(std::string_view text, std::string_view from, std::string_view to) {
  if (from.empty()) return std::nullopt;
  for (auto at = text.find(from); at != npos; at = text.find(from, at + 1)) {
    const bool begins = at == 0 || !is_word(text[at - 1]) || !is_word(from.front());
    const bool ends = at + from.size() >= text.size() || !is_word(text[at + from.size()]) || !is_word(from.back());
    if (begins && ends) return fmt::format("{}{}{}", text.substr(0, at), to, text.substr(at + from.size()));
  }
  return std::nullopt;
}

void add_line_texts(ObjectSpec& object, std::string_view name, const Source& source) {
  for (ProgramSpec& program : object.programs)
    for (SourceLine& l : program.lines)
      if (l.text.empty() && (l.file == name || l.file.ends_with(std::string("/").append(name))))
        l.text = source.line(l.line);
}

std::string unified_diff(std::string_view name, const Source& before, const Source& after) {
  // What both begin and end with is the same; the longest common subsequence of the rest.
  u32 head = 0, tail = 0;
  while (head < before.size() && head < after.size() && before.line(head + 1) == after.line(head + 1)) head++;
  while (tail < before.size() - head && tail < after.size() - head &&
         before.line(before.size() - tail) == after.line(after.size() - tail))
    tail++;
  const std::size_t rows = before.size() - head - tail, columns = after.size() - head - tail;
  if (rows == 0 && columns == 0) return {};
  struct Change {
    char mark;
    u32 old_line, new_line;  // where it stands, or would
  };
  std::vector<Change> changes;
  if ((rows + 1) * (columns + 1) > largest_table) {
    for (u32 i = 0; i < rows; i++) changes.push_back({'-', head + i + 1, head + 1});
    for (u32 k = 0; k < columns; k++) changes.push_back({'+', head + static_cast<u32>(rows) + 1, head + k + 1});
  } else {
    std::vector<u32> length((rows + 1) * (columns + 1));
    auto cell = [&](std::size_t i, std::size_t k) -> u32& { return length[i * (columns + 1) + k]; };
    auto same = [&](std::size_t i, std::size_t k) {
      return before.line(head + static_cast<u32>(i) + 1) == after.line(head + static_cast<u32>(k) + 1);
    };
    for (std::size_t i = rows; i-- > 0;)
      for (std::size_t k = columns; k-- > 0;)
        cell(i, k) = same(i, k) ? cell(i + 1, k + 1) + 1 : std::max(cell(i + 1, k), cell(i, k + 1));
    for (std::size_t i = 0, k = 0; i < rows || k < columns;) {
      const u32 o = head + static_cast<u32>(i) + 1, n = head + static_cast<u32>(k) + 1;
      if (i < rows && k < columns && same(i, k)) {
        i++, k++;
      } else if (i < rows && (k == columns || cell(i + 1, k) >= cell(i, k + 1))) {
        changes.push_back({'-', o, n});
        i++;
      } else {
        changes.push_back({'+', o, n});
        k++;
      }
    }
  }
  std::string out = fmt::format("--- {}\n+++ {}\n", name, name);
  for (std::size_t first = 0; first < changes.size();) {
    std::size_t last = first;
    auto behind = [&](const Change& c) { return c.old_line + (c.mark == '-' ? 1 : 0); };
    while (last + 1 < changes.size() && changes[last + 1].old_line <= behind(changes[last]) + 1) last++;
    const u32 old_begin = std::max(changes[first].old_line, 2u) - 1;
    const u32 new_begin = std::max(changes[first].new_line, 2u) - 1;
    const u32 old_end = std::min(behind(changes[last]), before.size());
    std::string body;
    u32 old_count = 0, new_count = 0;
    std::size_t next = first;
    for (u32 o = old_begin;;) {
      while (next <= last && changes[next].old_line == o && changes[next].mark == '+') {
        body += fmt::format("+{}\n", after.line(changes[next].new_line));
        new_count++, next++;
      }
      if (o > old_end) break;
      if (next <= last && changes[next].old_line == o) {
        body += fmt::format("-{}\n", before.line(o));
        old_count++, next++;
      } else {
        body += fmt::format(" {}\n", before.line(o));
        old_count++, new_count++;
      }
      o++;
    }
    out += fmt::format("@@ -{},{} +{},{} @@\n{}", old_begin, old_count, new_begin, new_count, body);
    first = last + 1;
  }
  return out;
}

}  // namespace skep::explain
