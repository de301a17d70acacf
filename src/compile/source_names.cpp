// One pass over the tokens; what a definition looks like is decided by the few tokens around a name.
#include "compile/source_names.hpp"

#include <vector>

namespace skep::compile {
namespace {

bool is_word_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) { return is_word_start(c) || is_digit(c); }

/// Identifiers and single punctuation characters, numbers left out; a directive ends with '\n'.
struct Token {
  std::string_view text;
  bool is_name = false;
  bool in_directive = false;
};

std::vector<Token> tokens_of(std::string_view text) {
  std::vector<Token> out;
  bool directive = false;
  bool line_begins = true;
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == '\n') {
      const bool continued = i > 0 && text[i - 1] == '\\';
      if (directive && !continued) {
        out.push_back({text.substr(i, 1), false, true});
        directive = false;
      }
      line_begins = !continued;
      ++i;
      continue;
    }
    if (c == ' ' || c == '\t' || c == '\r' || c == '\\') {
      ++i;
      continue;
    }
    if (c == '#' && line_begins) directive = true;
    line_begins = false;
    std::size_t end = i + 1;
    if (is_word(c))
      while (end < text.size() && is_word(text[end])) ++end;
    if (!is_digit(c)) out.push_back({text.substr(i, end - i), is_word_start(c), directive});
    i = end;
  }
  return out;
}

class Reader {
 public:
  Reader(std::string_view text, SourceNames& names) : text_(text), tokens_(tokens_of(text)), names_(names) {}

  void run() {
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      if (tokens_[i].text == "#" && tokens_[i].in_directive && i + 1 < tokens_.size()) {
        i = directive(i + 1);
      } else if (tokens_[i].is_name) {
        names_.words.emplace(tokens_[i].text);
        if (is(i + 1, "#") && is(i + 2, "#")) names_.beginnings.emplace(tokens_[i].text);
        name(i);
      }
    }
  }

 private:
  bool is(std::size_t i, std::string_view text) const { return i < tokens_.size() && tokens_[i].text == text; }
  bool is_name(std::size_t i) const { return i < tokens_.size() && tokens_[i].is_name; }
  void define(std::string_view name) { names_.defined.emplace(name); }

  /// `#define X`, `#define X(`; an #include's words mean nothing. Returns the last token it has read.
  std::size_t directive(std::size_t i) {
    if (is(i, "include") || is(i, "include_next")) {
      while (i + 1 < tokens_.size() && tokens_[i].text != "\n") ++i;
      return i;
    }
    if (is(i, "define") && is_name(i + 1)) {
      const std::string_view macro = tokens_[i + 1].text;
      define(macro);
      const char* end = macro.data() + macro.size();
      const bool with_parameters = end < text_.data() + text_.size() && *end == '(';
      if (!with_parameters) names_.macros.emplace(macro);
      if (!with_parameters && is_name(i + 2)) names_.stands_for.emplace(macro, tokens_[i + 2].text);
      return i + 1;
    }
    return i;
  }

  void name(std::size_t i) {
    const std::string_view word = tokens_[i].text;
    if (word == "struct" || word == "union" || word == "enum") {
      tag(i);
    } else if (word == "BPF_ITER" && is(i + 1, "(") && is_name(i + 2)) {
      names_.tags.emplace("bpf_iter__" + std::string(tokens_[i + 2].text));
    } else if (word.starts_with("BPF_SOCK")) {
      names_.tags.insert({"bpf_sock_ops", "sk_msg_md", "__sk_buff"});
      if (is(i + 1, "(")) map(i);
    } else if (word.find("CGROUP_STORAGE") != word.npos) {
      names_.tags.emplace("bpf_cgroup_storage_key");
      if (is(i + 1, "(")) map(i);
    } else if (word == "typedef") {
      type_definition(i);
    } else if (word.starts_with("BPF_") && is(i + 1, "(")) {
      map(i);
    } else if (is(i + 1, "(")) {
      const std::size_t close = matching(i + 1);
      if (is(close + 1, "{")) {
        define(word);
        names_.functions.emplace(word);
      } else if (!is_declaration(i, close)) {
        names_.called.emplace(word);
      }
    }
  }

  void tag(std::size_t i) {
    std::size_t body = i + 1;
    if (is_name(i + 1)) {
      names_.tags.emplace(tokens_[i + 1].text);
      ++body;
      if (is(body, "{")) names_.defined_tags.emplace(tokens_[i + 1].text);
    }
    if (tokens_[i].text != "enum" || !is(body, "{")) return;
    for (std::size_t k = body; k < tokens_.size() && tokens_[k].text != "}"; ++k)
      if ((is(k, "{") || is(k, ",")) && is_name(k + 1)) define(tokens_[k + 1].text);
  }

  /// The last name before the semicolon, outside of brackets; of `(*name)(...)` the one behind the star.
  void type_definition(std::size_t i) {
    int braces = 0, brackets = 0;
    std::string_view last;
    for (std::size_t k = i + 1; k < tokens_.size(); ++k) {
      const Token& token = tokens_[k];
      if (token.text == "{") ++braces;
      if (token.text == "}") --braces;
      if (braces > 0) continue;
      if (token.text == ";") break;
      if (token.text == "(" && is(k + 1, "*") && is_name(k + 2)) {
        last = tokens_[k + 2].text;
        break;
      }
      if (token.text == "[" || token.text == "(") ++brackets;
      if (token.text == "]" || token.text == ")") --brackets;
      if (brackets == 0 && token.is_name && token.text != "__attribute__") last = token.text;
    }
    if (!last.empty()) define(last);
  }

  /// BPF_HASH(name, ...); BPF_TABLE("kind", key, value, name, ...) and its kin.
  void map(std::size_t i) {
    const bool is_table = tokens_[i].text.starts_with("BPF_TABLE") || tokens_[i].text == "BPF_F_TABLE";
    int commas = 0, depth = 0;
    for (std::size_t k = i + 1; k < tokens_.size(); ++k) {
      if (is(k, "(")) ++depth;
      if (is(k, ")") && --depth == 0) return;
      if (is(k, ",") && depth == 1) ++commas;
      if (tokens_[k].is_name && commas == (is_table ? 3 : 0)) return define(tokens_[k].text);
    }
  }

  /// `int f(void);`: a type stands in front, a semicolon behind.
  bool is_declaration(std::size_t i, std::size_t close) const {
    return i > 0 && (is_name(i - 1) || is(i - 1, "*")) && !is(i - 1, "return") && !is(i - 1, "else") &&
           is(close + 1, ";");
  }

  std::size_t matching(std::size_t open) const {
    int depth = 0;
    for (std::size_t k = open; k < tokens_.size(); ++k) {
      if (is(k, "(")) ++depth;
      if (is(k, ")") && --depth == 0) return k;
      if (is(k, ";") || is(k, "{")) break;
    }
    return tokens_.size();
  }

  std::string_view text_;
  std::vector<Token> tokens_;
  SourceNames& names_;
};

}  // namespace

void SourceNames::add(std::string_view clean) { Reader(clean, *this).run(); }

void SourceNames::replace_macros_in_tags() {
  for (const NameSet given = tags; std::string tag : given) {
    auto macro = stands_for.find(tag);
    if (macro == stands_for.end()) continue;
    tags.erase(tag);
    for (std::size_t steps = 0; macro != stands_for.end() && steps < stands_for.size(); ++steps) {
      tag = macro->second;
      macro = stands_for.find(tag);
    }
    tags.insert(tag);
  }
}

}  // namespace skep::compile
