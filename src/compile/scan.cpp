// Words of a C source, read once from front to back.
#include "compile/scan.hpp"

#include <algorithm>
#include <iterator>
#include <map>

#include "compile/source_names.hpp"

namespace skep::compile {
namespace {

bool is_word_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_word(char c) { return is_word_start(c) || (c >= '0' && c <= '9'); }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f'; }

/// Blanks [from, to) but keeps line ends.
void blank(std::string& text, std::size_t from, std::size_t to) {
  for (std::size_t i = from; i < to; ++i)
    if (text[i] != '\n') text[i] = ' ';
}

/// The position after the comment or literal that begins at `at`, or `at` when none does.
std::size_t end_of_blank(std::string_view s, std::size_t at) {
  const auto or_end = [&](std::size_t p, std::size_t length) { return p == s.npos ? s.size() : p + length; };
  if (s.substr(at, 2) == "//") {
    std::size_t end = s.find('\n', at);
    while (end != s.npos && s[end - 1] == '\\') end = s.find('\n', end + 1);
    return or_end(end, 0);
  }
  if (s.substr(at, 2) == "/*") return or_end(s.find("*/", at + 2), 2);
  if (s[at] != '"' && s[at] != '\'') return at;
  std::size_t i = at + 1;
  while (i < s.size() && s[i] != s[at] && s[i] != '\n') i += s[i] == '\\' && i + 1 < s.size() ? 2 : 1;
  return std::min(i + 1, s.size());
}

class Scanner {
 public:
  Scanner(std::string_view source) : source_(source), clean_(blank_comments_and_strings(source)) {}

  Scan run() {
    directives();
    for (at_ = 0; at_ < clean_.size();) {
      if (!is_word_start(clean_[at_])) {
        ++at_;
        continue;
      }
      const std::string_view word = word_at(at_);
      note(word, at_);
      at_ += word.size();
    }
    finish();
    return std::move(scan_);
  }

 private:
  std::string_view word_at(std::size_t at) const {
    std::size_t end = at;
    while (end < clean_.size() && is_word(clean_[end])) ++end;
    return std::string_view(clean_).substr(at, end - at);
  }
  std::size_t skip_space(std::size_t at) const {
    while (at < clean_.size() && is_space(clean_[at])) ++at;
    return at;
  }

  /// #include and #define BPF_LICENSE: the original text matters, the blanked one says that it is no comment.
  void directives() {
    for (std::size_t begin = 0; begin < clean_.size();) {
      const std::size_t end = std::min(clean_.find('\n', begin), clean_.size());
      std::size_t i = begin;
      while (i < end && (clean_[i] == ' ' || clean_[i] == '\t')) ++i;
      if (i < end && clean_[i] == '#') directive(source_.substr(i + 1, end - i - 1));
      begin = end + 1;
    }
  }

  void directive(std::string_view line) {
    const auto trim = [](std::string_view& s) {
      while (!s.empty() && is_space(s.front())) s.remove_prefix(1);
      while (!s.empty() && is_space(s.back())) s.remove_suffix(1);
    };
    trim(line);
    if (line.starts_with("include")) {
      includes_libbpf_ |= line.find("<bpf/") != line.npos || line.find("bpf_helpers.h") != line.npos ||
                          line.find("vmlinux.h") != line.npos;
      scan_.may_include_vmlinux |= line.find('"') != line.npos || line.find("vmlinux.h") != line.npos;
      scan_.names_uapi |= line.find("linux/bpf.h") != line.npos;
    } else if (line.starts_with("define")) {
      line.remove_prefix(6);
      trim(line);
      if (!line.starts_with("BPF_LICENSE")) return;
      line.remove_prefix(11);
      if (const std::size_t comment = std::min(line.find("//"), line.find("/*")); comment != line.npos)
        line = line.substr(0, comment);
      trim(line);
      if (line.size() >= 2 && line.front() == '"' && line.back() == '"') line = line.substr(1, line.size() - 2);
      scan_.license = std::string(line);
    }
  }

  void note(std::string_view word, std::size_t at) {
    if (word == "SEC" || word == "section" || word == "__section") {
      const std::size_t open = skip_space(at + word.size());
      if (open >= clean_.size() || clean_[open] != '(') return;
      uses_sections_ = true;
      if (source_.substr(open, 24).find("license") != source_.npos) scan_.defines_license = true;
    } else if (word == "TRACEPOINT_PROBE") {
      two_names(at + word.size());
    } else if (word == "BPF_ARRAY_OF_MAPS" || word == "BPF_HASH_OF_MAPS") {
      map_of_maps(at + word.size());
    } else if (word.starts_with("tracepoint__")) {
      word.remove_prefix(12);
      if (const std::size_t gap = word.find("__"); gap != word.npos && gap > 0 && gap + 2 < word.size())
        scan_.tracepoints.push_back({std::string(word.substr(0, gap)), std::string(word.substr(gap + 2))});
    } else if (word == "perf_submit" || word == "perf_submit_skb" || word == "ringbuf_output" ||
               word == "ringbuf_submit") {
      record_call(at, at + word.size());
    } else if (word == "xdp_md" || word.starts_with("XDP_") || word.starts_with("TC_ACT_") ||
               word.starts_with("__sk_buff") || word.starts_with("bpf_sock") || word == "bpf_perf_event_data" ||
               word == "sk_msg_md" || word == "bpf_fib_lookup") {
      scan_.names_uapi = true;
    }
  }

  /// ( category , event )
  void two_names(std::size_t at) {
    at = skip_space(at);
    if (at >= clean_.size() || clean_[at] != '(') return;
    at = skip_space(at + 1);
    const std::string_view category = word_at(at);
    at = skip_space(at + category.size());
    if (at >= clean_.size() || clean_[at] != ',') return;
    const std::string_view event = word_at(skip_space(at + 1));
    if (!category.empty() && !event.empty()) scan_.tracepoints.push_back({std::string(category), std::string(event)});
  }

  /// ( outer, [key type,] inner or "inner", entries ): inner is the last but one. Strings are read from the original.
  void map_of_maps(std::size_t at) {
    at = skip_space(at);
    const std::size_t close = clean_.find(')', at);
    if (at >= clean_.size() || clean_[at] != '(' || close == clean_.npos) return;
    std::vector<std::string> parts(1);
    for (const char c : source_.substr(at + 1, close - at - 1)) {
      if (c == ',') parts.emplace_back();
      if (is_word(c)) parts.back().push_back(c);
    }
    if (parts.size() >= 3) scan_.maps_of_maps.push_back({parts.front(), parts[parts.size() - 2]});
  }

  /// MAP . method ( ... )
  void record_call(std::size_t word, std::size_t after) {
    std::size_t i = word;
    const auto back_over_space = [&] {
      while (i > 0 && is_space(clean_[i - 1])) --i;
    };
    back_over_space();
    if (i == 0 || clean_[i - 1] != '.') return;
    --i;
    back_over_space();
    const std::size_t end = i;
    while (i > 0 && is_word(clean_[i - 1])) --i;
    if (i == end) return;
    std::size_t close = skip_space(after);
    if (close >= clean_.size() || clean_[close] != '(') return;
    for (int depth = 0; close < clean_.size(); ++close) {
      if (clean_[close] == '(') ++depth;
      if (clean_[close] == ')' && --depth == 0) break;
    }
    const auto line = 1 + std::count(clean_.begin(), clean_.begin() + static_cast<std::ptrdiff_t>(close), '\n');
    calls_[static_cast<u32>(line)].push_back(clean_.substr(i, end - i));
  }

  void finish() {
    std::sort(scan_.tracepoints.begin(), scan_.tracepoints.end());
    scan_.tracepoints.erase(std::unique(scan_.tracepoints.begin(), scan_.tracepoints.end()), scan_.tracepoints.end());
    for (auto& [line, maps] : calls_) {
      const bool one_map = std::ranges::count(maps, maps.front()) == std::ssize(maps);
      if (one_map) scan_.record_calls.push_back({line, std::move(maps.front())});
    }
    SourceNames names;
    names.add(clean_);
    for (const std::string& function : names.functions)
      if (names.called.count(function) != 0) scan_.called.push_back(function);
    std::sort(scan_.called.begin(), scan_.called.end());
    scan_.dialect = uses_sections_ || includes_libbpf_ ? Dialect::libbpf : Dialect::bcc;
  }

  std::string_view source_;
  std::string clean_;
  std::size_t at_ = 0;
  Scan scan_;
  std::map<u32, std::vector<std::string>> calls_;
  bool uses_sections_ = false;
  bool includes_libbpf_ = false;
};

}  // namespace

std::string blank_comments_and_strings(std::string_view source) {
  std::string out(source);
  for (std::size_t i = 0; i < source.size();) {
    const std::size_t end = end_of_blank(source, i);
    if (end == i) {
      ++i;
      continue;
    }
    blank(out, i, end);
    i = end;
  }
  return out;
}

Scan scan_source(std::string_view source) { return Scanner(source).run(); }

}  // namespace skep::compile
