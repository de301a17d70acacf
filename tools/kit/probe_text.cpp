// One pass from left to right. See probe_text.hpp.
#include "kit/probe_text.hpp"

#include <fmt/format.h>

#include <cctype>

#include "catalog/syscalls.hpp"
#include "kit/c_text.hpp"
#include "kit/columns.hpp"
#include "kit/probes.hpp"

namespace skep::tools {
namespace {

constexpr std::string_view user_mark = "@user";

tl::unexpected<Error> bad(std::string_view text, std::string_view why) {
  return fail(Code::invalid_argument, fmt::format("probe '{}': {}", text, why));
}

std::string without_escapes(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out.push_back(text[i]);
      continue;
    }
    const char next = text[++i];
    out.push_back(next == 'n' ? '\n' : next == 't' ? '\t' : next);
  }
  return out;
}

/// The function of a system call is given its caller's registers; who asks for its arguments means the call's.
bool takes_callers_registers(const ProbeText& probe) {
  return probe.type == 'p' && probe.library.empty() && !catalog::syscall_of_function(probe.function).empty();
}

/// By either name: the function of fstat(2) is newfstat's.
const catalog::SyscallRow* syscall_called(std::string_view name) {
  const auto* const row = catalog::syscall_by_function(name);
  return row != nullptr ? row : catalog::syscall_by_name(name);
}

std::string argument(const ProbeText& probe, int number) {
  return fmt::format("SKEP_{}ARGUMENT(ctx, {})", takes_callers_registers(probe) ? "CALLERS_" : "", number);
}

Result<void> parse_place(std::string_view whole, std::string_view head, ProbeText& out) {
  std::vector<std::string> parts(1);
  for (const char c : head) {
    if (c == ':')
      parts.emplace_back();
    else
      parts.back().push_back(c);
  }
  if (parts.size() == 1) parts = {"p", "", parts[0]};
  if (parts.size() == 2) parts = {"p", parts[0], parts[1]};
  if (parts.size() == 4 && parts[0] == "u") parts = {"u", parts[1], parts[2] + ":" + parts[3]};
  if (parts.size() != 3 || parts[0].size() > 1)
    return bad(whole,
               "expected FUNCTION, LIBRARY:FUNCTION, p:LIBRARY:FUNCTION, r:LIBRARY:FUNCTION, t:CATEGORY:EVENT or "
               "u:LIBRARY:PROBE");
  out.type = parts[0].empty() ? 'p' : parts[0][0];
  out.library = parts[1], out.function = parts[2];
  if (std::string_view("prtu").find(out.type) == std::string_view::npos)
    return bad(whole, fmt::format("'{}' is no kind of probe that is known here: p, r, t or u", out.type));
  // "sys_read", as the function of the call was called until Linux 4.17.
  if (out.library.empty() && out.function.starts_with("sys_"))
    if (const auto* call = syscall_called(std::string_view(out.function).substr(4)))
      out.function = fmt::format("{}{}", catalog::syscall_prefix, call->function);
  if (out.function.empty() || ((out.type == 't' || out.type == 'u') && out.library.empty()))
    return bad(whole, "names no function or event");
  return {};
}

std::string word_in_c(const ProbeText& probe, const std::string& word) {
  if (word.size() == 4 && word.starts_with("arg") && word[3] >= '1' && word[3] <= '9') {
    if (probe.type == 'u')
      return fmt::format("({{ u64 skep_value = 0; bpf_usdt_readarg({}, ctx, &skep_value); skep_value; }})", word[3]);
    if (word[3] <= '6') return argument(probe, word[3] - '0');
  }
  if (word == "retval" || word == "$retval") return probe.type == 'r' ? "PT_REGS_RC(ctx)" : word;
  if (word == "$pid" || word == "$PID" || word == "$tgid") return "((unsigned)(bpf_get_current_pid_tgid() >> 32))";
  if (word == "$tid") return "((unsigned)bpf_get_current_pid_tgid())";
  if (word == "$uid") return "((unsigned)bpf_get_current_uid_gid())";
  if (word == "$gid") return "((unsigned)(bpf_get_current_uid_gid() >> 32))";
  if (word == "$cpu") return "bpf_get_smp_processor_id()";
  if (word == "$task") return "((struct task_struct *)bpf_get_current_task())";
  return word;
}

}  // namespace

Result<ProbeText> parse_probe(std::string_view text) {
  ProbeText out;
  std::string_view rest = text;
  skip_spaces(rest);
  std::size_t end = 0;
  while (end < rest.size() && !std::isspace(static_cast<unsigned char>(rest[end])) && rest[end] != '(' &&
         rest[end] != '"')
    ++end;
  SKEP_TRY(parse_place(text, rest.substr(0, end), out));
  rest.remove_prefix(end);
  if (rest.starts_with('(')) {
    const auto signature = take_brackets(rest);
    if (!signature) return bad(text, "the bracket of the signature is not closed");
    out.signature = *signature;
  }
  skip_spaces(rest);
  if (rest.starts_with('(')) {
    const auto predicate = take_brackets(rest);
    if (!predicate) return bad(text, "the bracket of the condition is not closed");
    out.predicate = *predicate;
    skip_spaces(rest);
  }
  if (rest.empty()) return out;
  if (rest.front() != '"') return bad(text, fmt::format("expected a message in quotation marks, found '{}'", rest));
  std::size_t close = 1;
  while (close < rest.size() && rest[close] != '"') close += rest[close] == '\\' ? 2 : 1;
  if (close >= rest.size()) return bad(text, "the message's quotation mark is not closed");
  out.format = without_escapes(rest.substr(1, close - 1));
  rest.remove_prefix(close + 1);
  skip_spaces(rest);
  if (rest.starts_with(',')) out.values = split_outside(rest.substr(1), ',');
  const auto wanted = SKEP_TRY(conversions(out.format));
  if (wanted.size() != out.values.size())
    return bad(text, fmt::format("the message wants {} values, {} are given", wanted.size(), out.values.size()));
  return out;
}

Result<AttachTarget> target_of(const ProbeText& probe, int pid) {
  if (probe.type == 't')
    return AttachTarget{.kind = AttachKind::tracepoint, .target = probe.library + "/" + probe.function};
  if (probe.type == 'u') {
    const std::string name = fmt::format("u:{}:{}", probe.library, probe.function);
    const auto found = SKEP_TRY(find_probes({.pattern = name, .pid = pid}));
    if (found.size() > 1)  // arguments of one are not those of another
      return fail(Code::invalid_argument, fmt::format("{} are {} static probes: name one of them, {} or {}", name,
                                                      found.size(), found[0].name, found[1].name));
    return found.front().target;
  }
  AttachTarget target{.kind = AttachKind::kprobe, .target = probe.function};
  if (!probe.library.empty()) {
    target = SKEP_TRY(find_probes({.pattern = probe.library + ":" + probe.function, .pid = pid})).front().target;
    // Of a pattern's functions that is the first; the engine takes the pattern itself, in the same file.
    target.target = target.target.substr(0, target.target.rfind(':') + 1) + probe.function;
  }
  return probe.type == 'r' ? return_of(target) : target;
}

std::vector<Parameter> parameters_of(const ProbeText& probe) {
  std::vector<Parameter> out;
  int number = 1;
  for (const std::string& parameter : split_outside(probe.signature, ',')) {
    // The name is the last word; what stands before it is the type.
    std::size_t at = parameter.size();
    while (at > 0 && is_word(parameter[at - 1])) --at;
    const std::string type = trimmed(std::string_view(parameter).substr(0, at));
    if (at < parameter.size() && !type.empty() && number <= 6) out.push_back({type, parameter.substr(at), number});
    ++number;
  }
  return out;
}

std::string handler_head(const ProbeText& probe, std::string_view name) {
  if (probe.type == 't')
    return fmt::format("int {}(struct tracepoint__{}__{} *args) {{\n  void *ctx = args;\n", name, probe.library,
                       probe.function);
  std::string out = fmt::format("int {}(struct pt_regs *ctx) {{\n", name);
  if (probe.type != 'p') return out;
  for (const Parameter& one : parameters_of(probe))
    out += fmt::format("  {0} {1} = ({0}){2};\n", one.type, one.name, argument(probe, one.number));
  return out;
}

TextValue text_value(const ProbeText& probe, std::string_view value) {
  // Strings of programs and of system calls are in user space; "@user" says so of others.
  bool of_user =
      probe.library.empty() ? takes_callers_registers(probe) : probe.type != 't' || probe.library == "syscalls";
  if (value.ends_with(user_mark)) {
    of_user = true;
    value.remove_suffix(user_mark.size());
  }
  return {expression(probe, value), of_user};
}

std::string begins_with_source(std::string_view name, std::string_view literal, bool of_user, bool is_binary) {
  return fmt::format(
      "static inline bool {}(const void *text) {{\n"
      "  char wanted[] = {}, found[sizeof(wanted)] = {{}};\n"
      "  bpf_probe_read_{}{}(found, sizeof(found) - {}, text);\n"
      "  for (int i = 0; i < sizeof(wanted) - 1; i++)\n    if (wanted[i] != found[i]) return false;\n"
      "  return true;\n}}\n",
      name, literal, of_user ? "user" : "kernel", is_binary ? "" : "_str", is_binary ? 1 : 0);
}

Result<std::string> Comparisons::replace(const ProbeText& probe, std::string_view text) {
  constexpr std::string_view word = "STRCMP";
  std::string out;
  char quote = 0;
  while (!text.empty()) {
    const bool is_call = quote == 0 && text.starts_with(word) && (out.empty() || !is_word(out.back()));
    if (!is_call) {
      if (quote != 0 && text[0] == '\\' && text.size() > 1) {
        out.append(text.substr(0, 2));
        text.remove_prefix(2);
        continue;
      }
      if (text[0] == quote)
        quote = 0;
      else if (quote == 0 && (text[0] == '"' || text[0] == '\''))
        quote = text[0];
      out.push_back(text[0]);
      text.remove_prefix(1);
      continue;
    }
    text.remove_prefix(word.size());
    skip_spaces(text);
    const auto inside = text.starts_with('(') ? take_brackets(text) : std::nullopt;
    const auto parts = inside ? split_outside(*inside, ',') : std::vector<std::string>();
    if (parts.size() != 2 || !parts[0].starts_with('"') || !parts[0].ends_with('"'))
      return bad(probe.function, "expected STRCMP(\"TEXT\", STRING)");
    const std::string name = fmt::format("skep_begins_{}_{}", are_binary_ ? "bytes" : "text", count_++);
    const TextValue value = text_value(probe, parts[1]);
    source_ += begins_with_source(name, parts[0], value.of_user, are_binary_);
    std::string_view place = parts[1];
    if (place.ends_with(user_mark)) place.remove_suffix(user_mark.size());
    out += fmt::format("{}((const void *)({}))", name, place);
  }
  return out;
}

std::string tree_source() {
  return "BPF_TABLE(\"lru_hash\", u32, u8, tree, 16384);\n"
         "RAW_TRACEPOINT_PROBE(sched_process_fork) {\n"
         "  struct task_struct *maker = (struct task_struct *)ctx->args[0], *made = (struct task_struct "
         "*)ctx->args[1];\n"
         "  u32 from = maker->tgid, to = made->tgid;\n  u8 member = 2;\n"
         "  if (from != to && tree.lookup(&from)) tree.update(&to, &member);\n  return 0;\n}\n";
}

std::string tree_filter() {
  return "  u32 skep_process = bpf_get_current_pid_tgid() >> 32;\n"
         "  u8 *skep_place = tree.lookup(&skep_process);\n  if (!skep_place || *skep_place != 2) return 0;\n";
}

std::string expression(const ProbeText& probe, std::string_view text) {
  std::string out;
  char quote = 0;
  for (std::size_t i = 0; i < text.size();) {
    if (quote != 0 || text[i] == '"' || text[i] == '\'') {
      if (quote != 0 && text[i] == '\\' && i + 1 < text.size()) {
        out.push_back(text[i++]);
      } else if (text[i] == quote || quote == 0) {
        quote = quote == 0 ? text[i] : 0;
      }
      out.push_back(text[i++]);
      continue;
    }
    if (!is_word(text[i])) {
      out.push_back(text[i++]);
      continue;
    }
    std::size_t end = i;
    while (end < text.size() && is_word(text[end])) ++end;
    const bool is_member = out.ends_with("->") || out.ends_with('.');
    const std::string word(text.substr(i, end - i));
    out += is_member ? word : word_in_c(probe, word);
    i = end;
  }
  return out;
}

Result<std::vector<char>> conversions(std::string_view format) {
  std::vector<char> out;
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') continue;
    if (++i < format.size() && format[i] == '%') continue;
    while (i < format.size() && (std::isdigit(static_cast<unsigned char>(format[i])) ||
                                 std::string_view("-+ #0.lhz").find(format[i]) != std::string_view::npos))
      ++i;
    if (i >= format.size() || std::string_view("sduxXoicpKU").find(format[i]) == std::string_view::npos)
      return fail(Code::invalid_argument,
                  fmt::format("message \"{}\": expected a conversion such as %s, %d, %u, %x, %c, %K or %U", format));
    out.push_back(format[i]);
  }
  return out;
}

std::string format_message(std::string_view format, const std::vector<MessageValue>& values) {
  std::string out;
  std::size_t next = 0;
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      out.push_back(format[i]);
      continue;
    }
    if (format[i + 1] == '%') {
      out.push_back(format[++i]);
      continue;
    }
    std::string one = "%";
    while (++i < format.size() && std::string_view("sduxXoicpKU").find(format[i]) == std::string_view::npos)
      if (std::string_view("lhz").find(format[i]) == std::string_view::npos) one.push_back(format[i]);
    if (i >= format.size() || next >= values.size()) break;
    const MessageValue& value = values[next++];
    const char kind = format[i];
    char buffer[512];
    if (kind == 's' || kind == 'K' || kind == 'U') {
      std::snprintf(buffer, sizeof buffer, (one + "s").c_str(), value.text.c_str());
    } else if (kind == 'c') {
      std::snprintf(buffer, sizeof buffer, (one + "c").c_str(), static_cast<int>(value.number & 0xff));
    } else if (kind == 'p') {
      std::snprintf(buffer, sizeof buffer, "%#llx", static_cast<unsigned long long>(value.number));
    } else {
      std::snprintf(buffer, sizeof buffer, (one + "ll" + kind).c_str(), static_cast<long long>(value.number));
    }
    out += buffer;
  }
  return out;
}

}  // namespace skep::tools
