// What a person writes after `skep trace`: a place, a condition, a message.
//
//   p::vfs_read(struct file *file) (file->f_flags & 1) "%s", arg2@user
//   r:c:malloc (retval == 0) "no memory"           t:sched:sched_switch "%s", args->next_comm
//
// The grammar is BCC's. Expressions are C: names of the signature's parameters, arg1 to arg6, retval, args->FIELD of a
// tracepoint, $pid, $tid, $uid, $gid, $cpu, $task. Source: BCC's trace(8).
#pragma once
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace skep::tools {

struct ProbeText {
  char type = 'p';                  ///< 'p' entry, 'r' return, 't' tracepoint
  std::string library;              ///< "" for the kernel; of a tracepoint the category
  std::string function;             ///< or the tracepoint's event
  std::string signature;            ///< parameters of the function as C, or ""
  std::string predicate;            ///< C, or ""
  std::string format;               ///< of the message, escapes resolved; "" without one
  std::vector<std::string> values;  ///< C expressions
};

/// Errors: invalid_argument, saying what was found and what was expected.
Result<ProbeText> parse_probe(std::string_view text);

/// Where the probe is attached. Errors: as find_probes().
Result<AttachTarget> target_of(const ProbeText& probe, int pid);

/// The head of the handler `name` in BCC's dialect, as far as its opening brace, and the declarations of the
/// signature's parameters.
std::string handler_head(const ProbeText& probe, std::string_view name);

/// An expression with the words of the grammar replaced by C.
std::string expression(const ProbeText& probe, std::string_view text);

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
