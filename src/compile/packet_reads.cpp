// One walk over the words of a source, with what is declared so far: headers, pointers to them, and the packet.
#include "compile/packet_reads.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>

#include "compile/headers.hpp"
#include "compile/scan.hpp"

namespace skep::compile {
namespace {

constexpr std::string_view mark = "BPF_PACKET_HEADER";

bool is_word_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_word(char c) { return is_word_start(c) || (c >= '0' && c <= '9'); }

struct Field {
  unsigned first = 0, bits = 0;  ///< bit 0 is the most significant of the first byte
};
using Header = std::map<std::string, Field, std::less<>>;
using Headers = std::map<std::string, Header, std::less<>>;

/// Words and signs of a text whose comments and strings are blank. Positions are in the text.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}
  std::size_t at() const { return at_; }
  void move_to(std::size_t at) { at_ = at; }
  bool is_at_end() const { return at_ >= text_.size(); }

  /// The next word, number or sign; "->" is one sign. "" at the end.
  std::string_view next() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r'))
      ++at_;
    begin_ = at_;
    if (at_ >= text_.size()) return {};
    if (is_word(text_[at_])) {
      while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    } else {
      at_ += text_.substr(at_).starts_with("->") ? 2 : 1;
    }
    return text_.substr(begin_, at_ - begin_);
  }
  std::string_view peek() {
    const std::size_t here = at_, begin = begin_;
    const std::string_view word = next();
    at_ = here;
    begin_ = begin;
    return word;
  }
  std::size_t begin() const { return begin_; }  ///< of the last word

 private:
  std::string_view text_;
  std::size_t at_ = 0, begin_ = 0;
};

/// Bits of an integer type by its words; 0 for what is none.
unsigned bits_of(std::string_view word) {
  static constexpr std::array<std::pair<std::string_view, unsigned>, 17> types = {{{"char", 8},
                                                                                   {"u8", 8},
                                                                                   {"__u8", 8},
                                                                                   {"uint8_t", 8},
                                                                                   {"short", 16},
                                                                                   {"u16", 16},
                                                                                   {"__u16", 16},
                                                                                   {"__be16", 16},
                                                                                   {"uint16_t", 16},
                                                                                   {"int", 32},
                                                                                   {"u32", 32},
                                                                                   {"__u32", 32},
                                                                                   {"__be32", 32},
                                                                                   {"uint32_t", 32},
                                                                                   {"long", 64},
                                                                                   {"u64", 64},
                                                                                   {"uint64_t", 64}}};
  for (const auto& [name, bits] : types)
    if (word == name) return bits;
  return word == "__u64" || word == "__be64" ? 64 : 0;
}

unsigned number_of(std::string_view word) {
  unsigned out = 0;
  for (const char c : word.substr(0, 4)) out = c >= '0' && c <= '9' ? out * 10 + static_cast<unsigned>(c - '0') : out;
  return out;
}

/// The fields between braces, `in` behind the opening one; nothing where there is more than integers and arrays of
/// them.
std::optional<Header> fields_of(Scanner& in) {
  Header out;
  unsigned at = 0, type_bits = 0;
  std::string_view name;
  unsigned width = 0;
  for (std::string_view word = in.next(); !word.empty(); word = in.next()) {
    if (word == "}") return out;
    if (const unsigned bits = bits_of(word); bits != 0 && name.empty()) {
      if (type_bits == 0 || word == "char" || word == "short" || word == "long") type_bits = bits;
    } else if (word == "unsigned" || word == "signed" || word == "const") {
      if (type_bits == 0 && bits_of(in.peek()) == 0) type_bits = 32;
    } else if (is_word_start(word[0])) {
      name = word;
      width = type_bits;
    } else if (word == ":") {
      width = number_of(in.next());
    } else if (word == "[") {
      width *= number_of(in.next());
      if (in.next() != "]") return std::nullopt;
    } else if (word == "," || word == ";") {
      if (name.empty() || width == 0) return std::nullopt;
      if (width <= 64) out.emplace(name, Field{at, width});
      at += width;
      name = {};
      if (word == ";") type_bits = 0;
    } else {
      return std::nullopt;
    }
  }
  return std::nullopt;
}

void add_headers(std::string_view clean, Headers& to) {
  Scanner in(clean);
  for (std::string_view word = in.next(); !word.empty(); word = in.next()) {
    if (word != "struct") continue;
    const std::string_view tag = in.next();
    if (tag.empty() || in.peek() != "{") continue;
    const std::size_t before = in.at();
    in.next();
    const auto fields = fields_of(in);
    if (fields && in.peek() == mark)
      to.insert_or_assign(std::string(tag), *fields);
    else
      in.move_to(before);
  }
}

const Headers& known_headers() {
  static const Headers headers = [] {
    Headers out;
    for (const EmbeddedHeader& header : embedded_headers())
      if (header.path == packets_header) add_headers(blank_comments_and_strings(header.text), out);
    return out;
  }();
  return headers;
}

class Rewriter {
 public:
  Rewriter(std::string_view source, std::string_view clean) : source_(source), clean_(clean), in_(clean) {
    headers_ = known_headers();
    add_headers(clean, headers_);
  }

  std::string run() {
    rewrite(clean_.size());
    if (copied_ == 0) return {};
    copy_to(source_.size());
    return std::move(out_);
  }

 private:
  void rewrite(std::size_t end) {
    std::string_view before, earlier;
    for (std::string_view word = in_.next(); !word.empty() && in_.begin() < end; word = in_.next()) {
      if (word == "struct") {
        declaration();
      } else if ((word == "incr_cksum_l3" || word == "incr_cksum_l4") && in_.peek() == "(") {
        copy_to(in_.begin());
        in_.next();
        out_ += fmt::format("skep_{}({}, ", word, packet_);
        copied_ = in_.at();
        word = "(";
      } else if (before != "." && before != "->" && !is_address_of(earlier, before) && in_.peek() == "->") {
        access(word, end);
      }
      earlier = before;
      before = word;
    }
  }

  /// `&ip->hchecksum` is an offset and stays; `mask & ip->src` and `a && ip->src` are reads.
  static bool is_address_of(std::string_view earlier, std::string_view before) {
    if (before != "&" || earlier == "&") return false;
    return earlier.empty() || !(is_word(earlier[0]) || earlier == ")" || earlier == "]");
  }

  /// `struct TAG *name`: from here on the name is such a pointer, or no longer one.
  void declaration() {
    const std::string_view tag = in_.next();
    if (in_.peek() != "*") return;
    in_.next();
    const std::string name(in_.peek());
    if (name.empty() || !is_word_start(name[0])) return;
    pointers_.erase(name);
    if (tag == "__sk_buff") packet_ = name;
    if (const auto header = headers_.find(tag); header != headers_.end()) pointers_[name] = &header->second;
  }

  void access(std::string_view pointer, std::size_t end) {
    const auto header = pointers_.find(pointer);
    if (header == pointers_.end()) return;
    const std::size_t begin = in_.begin();
    in_.next();
    const auto field = header->second->find(in_.next());
    if (field == header->second->end()) return;  // clang says that there is no such member
    const std::size_t behind = in_.at();
    const std::string place = fmt::format("{}, {}, {}, {}", packet_, pointer, field->second.first, field->second.bits);
    copy_to(begin);
    const auto [operation, value] = assignment();
    if (value == 0) {
      in_.move_to(behind);
      out_ += fmt::format("skep_packet_get({})", place);
      out_.append(static_cast<std::size_t>(std::count(clean_.begin() + static_cast<std::ptrdiff_t>(begin),
                                                      clean_.begin() + static_cast<std::ptrdiff_t>(behind), '\n')),
                  '\n');
      copied_ = behind;
      return;
    }
    out_ += fmt::format("skep_packet_set({}, ", place);
    if (!operation.empty()) out_ += fmt::format("skep_packet_get({}) {} (", place, operation);
    copied_ = value;
    in_.move_to(value);
    const std::size_t semicolon = std::min(clean_.find(';', value), end);
    rewrite(semicolon);
    copy_to(semicolon);
    out_ += operation.empty() ? ")" : "))";
    in_.move_to(semicolon);
  }

  /// Behind a field: the operation of `+=` (none of `=`), and where the value begins; 0 where nothing is assigned.
  std::pair<std::string, std::size_t> assignment() {
    const std::string_view first = in_.next();
    const std::size_t behind = in_.at();
    const auto is_next = [&](char c) { return in_.at() < clean_.size() && clean_[in_.at()] == c; };
    if (first == "=") return {{}, is_next('=') ? 0 : behind};
    static constexpr std::string_view operators = "+-*/%&|^";
    if (first.size() == 1 && operators.find(first[0]) != std::string_view::npos && is_next('='))
      return {std::string(first), behind + 1};
    if ((first == "<" || first == ">") && is_next(first[0]) && clean_.substr(behind + 1).starts_with('='))
      return {std::string(2, first[0]), behind + 2};
    return {{}, 0};
  }

  void copy_to(std::size_t end) {
    if (end > copied_) out_ += source_.substr(copied_, end - copied_);
    copied_ = std::max(copied_, end);
  }

  std::string_view source_, clean_;
  Scanner in_;
  Headers headers_;
  std::map<std::string, const Header*, std::less<>> pointers_;
  std::string packet_ = "skb";
  std::string out_;
  std::size_t copied_ = 0;
};

}  // namespace

bool reads_packets(std::string_view clean) {
  for (const std::string_view word : {std::string_view("cursor_advance"), std::string_view("load_byte"),
                                      std::string_view("load_half"), std::string_view("load_word"), mark})
    if (clean.find(word) != clean.npos) return true;
  return false;
}

std::string rewrite_packet_reads(std::string_view source) {
  const std::string clean = blank_comments_and_strings(source);
  return reads_packets(clean) ? Rewriter(source, clean).run() : std::string();
}

}  // namespace skep::compile
