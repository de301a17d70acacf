// See specifier.hpp. First the words of ours become C, then the C is put into a handler.
#include "argdist/specifier.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "kit/c_text.hpp"

namespace skep::tools {
namespace {

tl::unexpected<Error> bad(const Specifier& specifier, std::string_view why) {
  return fail(Code::invalid_argument, fmt::format("'{}': {}", specifier.text, why));
}

/// "const char *" -> "char*": how a string's type may be written.
std::string type_of(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i;
    while (end < text.size() && is_word(text[end])) ++end;
    const std::string word = text.substr(i, std::max<std::size_t>(end - i, 1));
    if (word != " " && word != "const") out += word;
    i += word.size();
  }
  return out == "char*" ? out : text;
}

/// The label stands behind the last '#' outside of quotes; `text` is shortened by it.
std::string take_label(std::string_view& text) {
  const auto at = find_outside(text, '#');
  if (at == std::string_view::npos) return "";
  std::string label = trimmed(text.substr(at + 1));
  text = text.substr(0, at);
  return label;
}

/// The words of returns and STRCMP as C.
class Words {
 public:
  Words(const Specifier& specifier, std::size_t number) : specifier_(specifier), number_(number) {}

  /// Errors: as generate().
  Result<std::string> in_c(std::string_view text) {
    std::string out;
    while (!text.empty()) {
      if (is_word(text.front())) {
        std::size_t end = 0;
        while (end < text.size() && is_word(text[end])) ++end;
        const std::string_view word = text.substr(0, end);
        text.remove_prefix(end);
        out += SKEP_TRY(word_in_c(word, text));
      } else if (text.front() == '"' || text.front() == '\'') {
        out += take_quoted(text);
      } else {
        out.push_back(text.front());
        text.remove_prefix(1);
      }
    }
    return out;
  }

  bool needs_entry() const { return latency_ || !parameters_.empty(); }
  bool latency() const { return latency_; }
  const std::vector<Parameter>& parameters() const { return parameters_; }
  const std::string& functions() const { return functions_; }

 private:
  static std::string take_quoted(std::string_view& text) {
    std::size_t end = 1;
    while (end < text.size() && text[end] != text[0]) end += text[end] == '\\' ? 2 : 1;
    end = std::min(end + 1, text.size());
    std::string out(text.substr(0, end));
    text.remove_prefix(end);
    return out;
  }

  Result<std::string> word_in_c(std::string_view word, std::string_view& rest) {
    if (word == "STRCMP" && rest.starts_with('(')) return compare(rest);
    if (word != "$entry" && word != "$latency") return std::string(word);
    if (specifier_.place.type != 'r')
      return bad(specifier_, fmt::format("{} is known where a function returns (r:...) only", word));
    if (word == "$latency") {
      latency_ = true;
      return std::string("skep_latency");
    }
    const auto name = rest.starts_with('(') ? take_brackets(rest) : std::nullopt;
    const auto known = parameters_of(specifier_.place);
    const auto found = std::find_if(known.begin(), known.end(),
                                    [&](const Parameter& one) { return name && one.name == trimmed(*name); });
    if (found == known.end())
      return bad(specifier_, fmt::format("$entry({}): expected the name of a parameter of the signature, such as "
                                         "r:c:read(int fd):int:$entry(fd)",
                                         name.value_or("")));
    if (std::none_of(parameters_.begin(), parameters_.end(),
                     [&](const Parameter& one) { return one.name == found->name; }))
      parameters_.push_back(*found);
    return fmt::format("({})", found->name);
  }

  Result<std::string> compare(std::string_view& rest) {
    const auto inside = take_brackets(rest);
    const auto parts = inside ? split_outside(*inside, ',') : std::vector<std::string>();
    if (parts.size() != 2 || !parts[0].starts_with('"')) return bad(specifier_, "expected STRCMP(\"TEXT\", STRING)");
    const std::string name = fmt::format("skep_begins_{}_{}", number_, count_++);
    const TextValue value = text_value(specifier_.place, SKEP_TRY(in_c(parts[1])));
    functions_ += begins_with_source(name, parts[0], value.of_user, false);
    return fmt::format("{}((const void *)({}))", name, value.c);
  }

  const Specifier& specifier_;
  std::size_t number_, count_ = 0;
  bool latency_ = false;
  std::vector<Parameter> parameters_;
  std::string functions_;
};

std::string filter_by_task(WantedTask wanted) {
  std::string out;
  if (wanted.pid != 0) out += fmt::format("  if (bpf_get_current_pid_tgid() >> 32 != {}) return 0;\n", wanted.pid);
  if (wanted.tid != 0) out += fmt::format("  if ((u32)bpf_get_current_pid_tgid() != {}) return 0;\n", wanted.tid);
  if (wanted.of_tree) out += tree_filter();
  return out;
}

/// What the entry leaves for the return.
std::string entry_program(const Specifier& specifier, std::size_t number, const Words& words, WantedTask wanted) {
  ProbeText entry = specifier.place;
  entry.type = 'p';
  std::string out = fmt::format("struct entry_{} {{\n  u64 time_ns;\n", number);
  for (const Parameter& one : words.parameters()) out += fmt::format("  u64 a{};\n", one.number);
  out += fmt::format("}};\nBPF_HASH(entries_{0}, u64, struct entry_{0}, 10240);\n", number);
  out += handler_head(entry, fmt::format("begin_{}", number)) + filter_by_task(wanted);
  out += fmt::format(
      "  u64 id = bpf_get_current_pid_tgid();\n  struct entry_{} e = {{.time_ns = bpf_ktime_get_ns()}};\n", number);
  for (const Parameter& one : words.parameters()) out += fmt::format("  e.a{} = (u64){};\n", one.number, one.name);
  return out + fmt::format("  entries_{}.update(&id, &e);\n  return 0;\n}}\n", number);
}

std::string take_entry(std::size_t number, const Words& words) {
  std::string out = fmt::format(
      "  u64 id = bpf_get_current_pid_tgid();\n  struct entry_{0} *entry = entries_{0}.lookup(&id);\n"
      "  if (!entry) return 0;\n  struct entry_{0} e = *entry;\n  entries_{0}.delete(&id);\n",
      number);
  if (words.latency()) out += "  u64 skep_latency = bpf_ktime_get_ns() - e.time_ns;\n";
  for (const Parameter& one : words.parameters())
    out += fmt::format("  {0} {1} = ({0})e.a{2};\n", one.type, one.name, one.number);
  return out;
}

/// Values into the key, or the slot of the histogram.
Result<std::string> collect(const Specifier& specifier, std::size_t number, KeyLayout layout, Words& words) {
  if (specifier.is_histogram) {
    const std::string value = expression(specifier.place, SKEP_TRY(words.in_c(specifier.values[0])));
    return fmt::format("  int slot = bpf_log2l((u64)(({})({}))) - 1;\n  counts_{}.atomic_increment(slot);\n",
                       specifier.types[0], value, number);
  }
  std::string out = fmt::format("  struct key_{} k = {{}};\n", number);
  for (std::size_t i = 0; i < specifier.values.size(); ++i) {
    if (specifier.values[i] == "$COMM") {
      out += fmt::format("  bpf_get_current_comm(k.v{}, 16);\n", i);
    } else if (specifier.is_text(i)) {
      const TextValue value = text_value(specifier.place, SKEP_TRY(words.in_c(specifier.values[i])));
      out += fmt::format("  bpf_probe_read_{}_str(k.v{}, {}, (void *)({}));\n", value.of_user ? "user" : "kernel", i,
                         layout.string_bytes, value.c);
    } else {
      const std::string value = expression(specifier.place, SKEP_TRY(words.in_c(specifier.values[i])));
      out += fmt::format("  k.v{0} = (u64)(({1})({2}));\n  k.signs |= (u64)(({1})-1 < ({1})1) << {0};\n", i,
                         specifier.types[i], value);
    }
  }
  return out + fmt::format("  counts_{}.atomic_increment(k);\n", number);
}

std::string map_of(const Specifier& specifier, std::size_t number, KeyLayout layout) {
  if (specifier.is_histogram) return fmt::format("BPF_ARRAY(counts_{}, u64, 64);\n", number);
  std::string out = fmt::format("struct key_{} {{\n  u64 signs;\n", number);
  for (std::size_t i = 0; i < specifier.values.size(); ++i)
    out += specifier.is_text(i) ? fmt::format("  char v{}[{}];\n", i, layout.string_bytes)
                                : fmt::format("  u64 v{};\n", i);
  return out + fmt::format("}};\nBPF_HASH(counts_{0}, struct key_{0}, u64, 10240);\n", number);
}

Result<void> read_values(Specifier& out, std::string_view rest) {
  std::vector<std::string> parts;
  for (std::size_t at; parts.size() < 2 && (at = find_outside(rest, ':')) != std::string_view::npos;) {
    parts.emplace_back(trimmed(rest.substr(0, at)));
    rest.remove_prefix(at + 1);
  }
  parts.push_back(trimmed(rest));
  if (parts.size() < 2)
    return bad(out, fmt::format("'{}': expected TYPE[,TYPE...]:EXPRESSION[,EXPRESSION...]", parts[0]));
  out.types = split_outside(parts[0], ',');
  out.values = split_outside(parts[1], ',');
  for (std::string& type : out.types) type = type_of(type);
  if (parts.size() > 2) out.place.predicate = parts[2];
  if (out.types.empty() || out.types.size() != out.values.size())
    return bad(out, fmt::format("{} types for {} expressions", out.types.size(), out.values.size()));
  if (out.is_histogram && (out.types.size() > 1 || out.is_text(0)))
    return bad(out, "a histogram is of one number; count texts and combinations with -C");
  return {};
}

}  // namespace

std::string Specifier::shown(std::size_t i) const {
  std::string out;
  std::string_view rest = values[i];
  constexpr std::string_view word = "$entry";
  for (std::size_t at; (at = rest.find(word)) != std::string_view::npos;) {
    out += rest.substr(0, at);
    rest.remove_prefix(at + word.size());
    out += take_brackets(rest).value_or("");
  }
  return out + std::string(rest);
}

Result<Specifier> parse_specifier(std::string_view text, bool is_histogram) {
  Specifier out;
  out.text = trimmed(text), out.is_histogram = is_histogram;
  std::string_view rest = out.text;
  out.label = take_label(rest);
  std::size_t end = 0;  // of the place: the signature's bracket, or the third colon
  for (int colons = 0; end < rest.size() && rest[end] != '('; ++end)
    if (rest[end] == ':' && ++colons == 3 && rest.find('(') == std::string_view::npos) break;
  auto place = parse_probe(rest.substr(0, end));
  if (!place) return bad(out, place.error().message);
  out.place = *std::move(place);
  rest.remove_prefix(end);
  if (rest.starts_with('(')) {
    auto signature = take_brackets(rest);
    if (!signature) return bad(out, "the bracket of the signature is not closed");
    out.place.signature = *std::move(signature);
  }
  skip_spaces(rest);
  if (rest.starts_with(':')) {
    SKEP_TRY(read_values(out, rest.substr(1)));
  } else if (!rest.empty()) {
    return bad(out, fmt::format("expected ':' and types, or '#' and a label, found '{}'", rest));
  } else if (out.place.type == 'r') {
    out.types = {"int"}, out.values = {"$retval"};
  } else if (is_histogram) {
    return bad(out, "a histogram takes TYPE:EXPRESSION, for example p:c:malloc(size_t size):size_t:size");
  } else {
    out.counts_calls = true;
  }
  return out;
}

std::size_t KeyLayout::size_of(const Specifier& specifier) const {
  std::size_t size = sizeof(u64);
  for (std::size_t i = 0; i < specifier.values.size(); ++i) size += specifier.is_text(i) ? string_bytes : sizeof(u64);
  return size;
}

Result<std::string> generate(const Specifier& specifier, std::size_t number, KeyLayout layout, WantedTask wanted) {
  Words words(specifier, number);
  const std::string filter = expression(specifier.place, SKEP_TRY(words.in_c(specifier.place.predicate)));
  const std::string body = SKEP_TRY(collect(specifier, number, layout, words));
  std::string out = map_of(specifier, number, layout);
  out += fmt::format("#line 1 \"{} {}\"\n", specifier.is_histogram ? "-H" : "-C", specifier.place.function);
  out += words.functions();
  if (words.needs_entry()) out += entry_program(specifier, number, words, wanted);
  out += handler_head(specifier.place, fmt::format("probe_{}", number)) + filter_by_task(wanted);
  if (words.needs_entry()) out += take_entry(number, words);
  if (!filter.empty()) out += fmt::format("  if (!({})) return 0;\n", filter);
  return out + body + "  return 0;\n}\n";
}

}  // namespace skep::tools
