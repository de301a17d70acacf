// A C source as lines, and what a suggested change needs to know of it: statements, the function around a line,
// declarations, what functions return when they give up, and the difference to another text.
//
// This is no C parser. Whatever it finds is only proposed: a change is shown when the changed source was compiled and
// verified, so a wrong guess costs time and nothing else.
#pragma once
#include <optional>
#include <skep/spec.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace skep::explain {

/// Lines are counted from 1, as in line information.
class Source {
 public:
  explicit Source(std::string_view text);

  u32 size() const { return static_cast<u32>(lines_.size()); }
  const std::string& line(u32 number) const;
  std::string text() const;

  void insert_before(u32 number, std::string line);
  void replace(u32 number, std::string line) { lines_[number - 1] = std::move(line); }
  void erase(u32 number) { lines_.erase(lines_.begin() + number - 1); }

  /// The lines of the statement that `number` is in. A body without braces belongs to its `if`.
  u32 statement_begin(u32 number) const;
  u32 statement_end(u32 number) const;
  /// The statement as one line.
  std::string statement(u32 number) const;
  /// The white space a line begins with.
  std::string indent(u32 number) const;

  struct Function {
    u32 begin = 0, body = 0, end = 0;  ///< the line of the signature's beginning, of '{', of the closing '}'
    std::string signature;
  };
  std::optional<Function> function_at(u32 number) const;
  /// "return 0;": what `f` does at `number` when it cannot go on; `otherwise` where it does so nowhere.
  std::string giving_up(const Function& f, u32 number, std::string_view otherwise) const;
  /// The first line in [from, to] that declares or assigns a variable and mentions `word` on the right; its number.
  std::optional<u32> assignment_with(u32 from, u32 to, std::string_view word) const;
  /// The last line in [from, to] with a declaration of `name`, or of an assignment to it.
  std::optional<u32> declaration(u32 from, u32 to, std::string_view name) const;

 private:
  std::vector<std::string> lines_;
};

/// The difference as a unified diff with one line of context, or "" where there is none.
std::string unified_diff(std::string_view name, const Source& before, const Source& after);

/// Writes the text's lines into line information that has none: a compiler that read the text from memory knows only
/// numbers. `name` is the file's name in the line information.
void add_line_texts(ObjectSpec& object, std::string_view name, const Source& source);

/// The first occurrence of `from` as whole words replaced by `to`; nullopt where there is none.
std::optional<std::string> replaced(std::string_view text, std::string_view from, std::string_view to);
/// Without a comment at its end and white space around it.
std::string_view code_of(std::string_view line);
/// The identifier or number that ends at `end`; empty where another character stands before it.
std::string_view word_before(std::string_view text, std::size_t end);
/// All identifiers and numbers, as they stand.
std::vector<std::string_view> words_of(std::string_view text);
/// What stands right of a line's assignment, without the semicolon.
std::string right_side(std::string_view line);

}  // namespace skep::explain
