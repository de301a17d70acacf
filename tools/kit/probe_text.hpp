// What a person writes after `skep trace`: a place, a condition, a message.
//
//   p::vfs_read(struct file *file) (file->f_flags & 1) "%s", arg2@user
//   r:c:malloc (retval == 0) "no memory"           t:sched:sched_switch "%s", args->next_comm
//   u:/usr/bin/python3:gc__start "%d", arg1
//
// The grammar is BCC's. Expressions are C: names of the signature's parameters, arg1 to arg6 (of a static probe arg9),
// retval, args->FIELD of a tracepoint, $pid, $tid, $uid, $gid, $cpu, $task. Source: BCC's trace(8).
#pragma once
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace skep::tools {

struct ProbeText {
  char type = 'p';                  ///< 'p' entry, 'r' return, 't' tracepoint, 'u' static probe
  std::string library;              ///< "" for the kernel; of a tracepoint the category
  std::string function;             ///< or the tracepoint's event, or [PROVIDER:]PROBE
  std::string signature;            ///< parameters of the function as C, or ""
  std::string predicate;            ///< C, or ""
  std::string format;               ///< of the message, escapes resolved; "" without one
  std::vector<std::string> values;  ///< C expressions
};

/// Errors: invalid_argument, saying what was found and what was expected.
Result<ProbeText> parse_probe(std::string_view text);

/// Where the probe is attached. Errors: as find_probes().
Result<AttachTarget> target_of(const ProbeText& probe, int pid);

/// A parameter of the signature that has a type and a name, of the first six.
struct Parameter {
  std::string type, name;
  int number;  ///< from 1
};
std::vector<Parameter> parameters_of(const ProbeText& probe);

/// The head of the handler `name` in BCC's dialect, as far as its opening brace, and the declarations of the
/// signature's parameters.
std::string handler_head(const ProbeText& probe, std::string_view name);

/// C in BCC's dialect by which the kernel's hooks see one command only, as tool.bpf.h does it: the map `tree`, which
/// the kit fills with skep's own process, and the program that follows forks; and the lines of a handler that ask it.
std::string tree_source();
std::string tree_filter();

/// An expression with the words of the grammar replaced by C.
std::string expression(const ProbeText& probe, std::string_view text);

/// An expression that may be a string, and in whose memory that lies. "@user" behind it says the process's.
struct TextValue {
  std::string c;
  bool of_user;
};
TextValue text_value(const ProbeText& probe, std::string_view value);

/// The C function `name(text)`, which tells whether a string begins with a literal (in its quotation marks).
/// `is_binary`: `text` is memory, whose zeros are bytes as any others.
std::string begins_with_source(std::string_view name, std::string_view literal, bool of_user, bool is_binary);

/// Takes BCC's STRCMP("TEXT", STRING) out of expressions.
class Comparisons {
 public:
  explicit Comparisons(bool are_binary) : are_binary_(are_binary) {}
  /// The text with each STRCMP as a call. Errors: invalid_argument.
  Result<std::string> replace(const ProbeText& probe, std::string_view text);
  /// The functions that are called.
  const std::string& source() const { return source_; }

 private:
  bool are_binary_;
  std::size_t count_ = 0;
  std::string source_;
};

/// The conversions of a format: 's', 'd', 'u', 'x', 'c', ...; errors: invalid_argument.
Result<std::vector<char>> conversions(std::string_view format);

/// One value of a message: a number, or a text.
struct MessageValue {
  u64 number = 0;
  std::string text;
};
/// printf with values of known kinds: each conversion takes the next value.
std::string format_message(std::string_view format, const std::vector<MessageValue>& values);

}  // namespace skep::tools
