// Each word is looked at once; what a table knows is looked at from there outwards, in the text without comments and
// strings.
#include "compile/guessed_members.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <vector>

#include "base/kernel_version.hpp"
#include "compile/scan.hpp"

namespace skep::compile {
namespace {

struct GuessedMember {
  std::string_view neighbour;
  u32 distance;
  std::string_view member;
};
struct GuessedStruct {
  std::string_view guess, structure;
};
struct RenamedMember {
  std::string_view guess, member;
  u32 since;
  std::string_view name;
};

using base::release;

#define SKEP_GUESSED_MEMBER(neighbour, distance, member) {#neighbour, distance, #member},
#define SKEP_GUESSED_STRUCT(guess, structure)
#define SKEP_RENAMED_MEMBER(guess, member, since, name)
constexpr GuessedMember guessed_members[] = {
#include "compile/guessed_members.def"
};
#undef SKEP_GUESSED_MEMBER
#undef SKEP_GUESSED_STRUCT
#define SKEP_GUESSED_MEMBER(neighbour, distance, member)
#define SKEP_GUESSED_STRUCT(guess, structure) {#guess, #structure},
constexpr GuessedStruct guessed_structs[] = {
#include "compile/guessed_members.def"
};
#undef SKEP_GUESSED_STRUCT
#undef SKEP_RENAMED_MEMBER
#define SKEP_GUESSED_STRUCT(guess, structure)
#define SKEP_RENAMED_MEMBER(guess, member, since, name) {#guess, #member, since, #name},
constexpr RenamedMember renamed_members[] = {
#include "compile/guessed_members.def"
};
#undef SKEP_GUESSED_MEMBER
#undef SKEP_GUESSED_STRUCT
#undef SKEP_RENAMED_MEMBER

bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/// Takes what stands in front of a place, from right to left.
class Backwards {
 public:
  Backwards(std::string_view text, std::size_t at) : text_(text), at_(at) {}
  std::size_t at() const { return at_; }

  bool take(std::string_view sign) {
    skip_space();
    if (at_ < sign.size() || text_.substr(at_ - sign.size(), sign.size()) != sign) return false;
    at_ -= sign.size();
    return true;
  }
  std::string_view word() {
    skip_space();
    const std::size_t end = at_;
    while (at_ > 0 && is_word(text_[at_ - 1])) --at_;
    return text_.substr(at_, end - at_);
  }
  /// `(unsigned char *)`; whether it is a pointer, nothing where no cast stands here.
  std::optional<bool> cast() {
    if (!take(")")) return std::nullopt;
    const bool is_pointer = take("*");
    if (word().empty()) return std::nullopt;
    while (!word().empty()) {
    }
    return take("(") ? std::optional(is_pointer) : std::nullopt;
  }

 private:
  void skip_space() {
    while (at_ > 0 && is_space(text_[at_ - 1])) --at_;
  }
  std::string_view text_;
  std::size_t at_;
};

/// The same from left to right.
class Forwards {
 public:
  Forwards(std::string_view text, std::size_t at) : text_(text), at_(at) {}
  std::size_t at() const { return at_; }

  bool take(char sign) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != sign) return false;
    ++at_;
    return true;
  }
  std::string_view word() {
    skip_space();
    const std::size_t begin = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }
  /// Behind the brace that closes the one that was taken.
  bool body() {
    for (int depth = 1; at_ < text_.size(); ++at_) {
      if (text_[at_] == '{') ++depth;
      if (text_[at_] == '}' && --depth == 0) return take('}');
    }
    return false;
  }

 private:
  void skip_space() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  }
  std::string_view text_;
  std::size_t at_;
};

class Rewriter {
 public:
  Rewriter(std::string_view source, std::string_view clean, u32 version)
      : source_(source), text_(clean), version_(version) {
    for (std::size_t at = 0; at < text_.size(); ++at) {
      if (!is_word(text_[at])) continue;
      const std::string_view word = Forwards(text_, at).word();
      words_.push_back({at, word});
      at += word.size();
    }
  }

  std::string run() {
    for (const auto& [at, word] : words_) read(at, word);
    for (const GuessedStruct& row : guessed_structs)
      if (const auto definition = definition_of(row.guess); definition && is_only_pointed_at(row.guess, *definition))
        use_the_kernels(row, *definition);
    return applied();
  }

 private:
  struct Word {
    std::size_t at;
    std::string_view text;
  };
  struct Edit {
    std::size_t begin, end;
    std::string text;
  };

  /// `*(TYPE *)((TYPE)&POINTER->NEIGHBOUR - DISTANCE)`, by the neighbour's name.
  void read(std::size_t at, std::string_view neighbour) {
    Forwards behind(text_, at + neighbour.size());
    if (!behind.take('-')) return;
    const std::string_view number = behind.word();
    u32 distance = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), distance);
    if (error != std::errc() || end != number.data() + number.size() || !behind.take(')')) return;
    const auto row = std::find_if(std::begin(guessed_members), std::end(guessed_members), [&](const GuessedMember& r) {
      return r.neighbour == neighbour && r.distance == distance;
    });
    Backwards in(text_, at);
    if (row == std::end(guessed_members) || !in.take("->")) return;
    const std::string_view pointer = in.word();
    if (pointer.empty() || !in.take("&") || !in.cast() || !in.take("(") || in.cast() != true || !in.take("*")) return;
    edits_.push_back({in.at(), behind.at(), fmt::format("({}->{})", pointer, row->member)});
  }

  /// `struct NAME { ... };`, begin and end.
  std::optional<std::pair<std::size_t, std::size_t>> definition_of(std::string_view name) const {
    for (const Word& word : words_) {
      Backwards before(text_, word.at);
      Forwards behind(text_, word.at + word.text.size());
      if (word.text == name && before.word() == "struct" && behind.take('{') && behind.body() && behind.take(';'))
        return std::pair(before.at(), behind.at());
    }
    return std::nullopt;
  }

  /// Whose values a program keeps, in a map or a variable, is its own structure, whatever it is called.
  bool is_only_pointed_at(std::string_view name, std::pair<std::size_t, std::size_t> definition) const {
    return std::ranges::all_of(words_, [&](const Word& word) {
      const bool is_mention = word.text == name && (word.at < definition.first || word.at >= definition.second);
      return !is_mention ||
             (Backwards(text_, word.at).word() == "struct" &&
              (Forwards(text_, word.at + name.size()).take('*') || Forwards(text_, word.at + name.size()).take(';')));
    });
  }

  void use_the_kernels(const GuessedStruct& row, std::pair<std::size_t, std::size_t> definition) {
    const auto [begin, end] = definition;
    edits_.push_back({begin, end, {}});
    std::set<std::string_view> pointers;
    for (const Word& word : words_) {
      if (word.at >= begin && word.at < end) continue;
      if (word.text == row.guess) {
        edits_.push_back({word.at, word.at + word.text.size(), std::string(row.structure)});
        Forwards behind(text_, word.at + word.text.size());
        if (behind.take('*')) pointers.insert(behind.word());
      } else if (const auto name = name_now(row.guess, word.text); !name.empty()) {
        Backwards before(text_, word.at);
        if (before.take("->") && pointers.contains(before.word()))
          edits_.push_back({word.at, word.at + word.text.size(), std::string(name)});
      }
    }
  }

  std::string_view name_now(std::string_view guess, std::string_view member) const {
    for (const RenamedMember& row : renamed_members)
      if (row.guess == guess && row.member == member && version_ >= row.since) return row.name;
    return {};
  }

  std::string applied() {
    if (edits_.empty()) return {};
    std::ranges::sort(edits_, {}, &Edit::begin);
    std::string out;
    std::size_t copied = 0;
    for (const Edit& edit : edits_) {
      if (edit.begin < copied) continue;  // inside a definition that is gone
      const std::string_view lines = text_.substr(edit.begin, edit.end - edit.begin);
      out += source_.substr(copied, edit.begin - copied);
      out += edit.text;
      out.append(static_cast<std::size_t>(std::count(lines.begin(), lines.end(), '\n')), '\n');
      copied = edit.end;
    }
    out += source_.substr(copied);
    return out;
  }

  std::string_view source_, text_;
  u32 version_;
  std::vector<Word> words_;
  std::vector<Edit> edits_;
};

/// Nearly no source makes a guess.
bool may_guess(std::string_view source) {
  const auto is_there = [&](std::string_view word) { return source.find(word) != source.npos; };
  return std::ranges::any_of(guessed_members, is_there, &GuessedMember::neighbour) ||
         std::ranges::any_of(guessed_structs, is_there, &GuessedStruct::guess);
}

}  // namespace

std::string rewrite_guessed_members(std::string_view source, u32 version) {
  if (!may_guess(source)) return {};
  const std::string clean = blank_comments_and_strings(source);
  return Rewriter(source, clean, version).run();
}

}  // namespace skep::compile
