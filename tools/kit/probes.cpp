// Names are looked up before anything is loaded, so that "nothing matches" is said at once and each probe has its name.
#include "kit/probes.hpp"
#include "base/target_words.hpp"

#include <fmt/format.h>
#include <fnmatch.h>

#include <functional>
#include <regex>

#include "catalog/syscalls.hpp"
#include "elf/functions.hpp"
#include "elf/usdt.hpp"
#include "elf/user_binary.hpp"
#include "hook/life_context.hpp"
#include "kernel/functions.hpp"
#include "kit/kit.hpp"

namespace skep::tools {
namespace {

using Matcher = std::function<bool(std::string_view)>;

Result<Matcher> matcher_of(const std::string& pattern, bool regular_expression) {
  if (!regular_expression)
    return Matcher(
        [pattern](std::string_view name) { return ::fnmatch(pattern.c_str(), std::string(name).c_str(), 0) == 0; });
  try {
    return Matcher([expression = std::regex(pattern)](std::string_view name) {
      return std::regex_search(name.begin(), name.end(), expression, std::regex_constants::match_continuous);
    });
  } catch (const std::regex_error& error) {
    return fail(Code::invalid_argument, fmt::format("'{}' is not a regular expression: {}", pattern, error.what()));
  }
}

/// "c" and "libc" are what people call libc.so.6; "ssl" is libssl.so. Parts of the C library that had files of their
/// own until glibc 2.34 are looked for in these, and then in what they have become a part of.
std::vector<std::string> library_files(const std::string& name) {
  if (name == "c") return {"libc.so.6"};
  if (name == "m") return {"libm.so.6"};
  if (name == "pthread") return {"libpthread.so.0", "libc.so.6"};
  if (name == "dl") return {"libdl.so.2", "libc.so.6"};
  if (name == "rt") return {"librt.so.1", "libc.so.6"};
  return {name};
}

/// What `look` finds in the first of a name's files in which it finds something.
Result<std::vector<Probe>> in_library(
    const ProbeQuery& query, const std::string& name,
    const std::function<Result<std::vector<Probe>>(const elf::UserBinary& binary)>& look) {
  std::vector<Probe> found;
  const auto files = library_files(name);
  for (const std::string& file : files) {
    const auto binary = elf::open_user_binary(file, query.pid);
    if (!binary && file != files.back()) continue;
    if (!binary) return tl::unexpected(binary.error());
    found = SKEP_TRY(look(*binary));
    if (!found.empty()) break;
  }
  return found;
}

Result<std::vector<Probe>> kernel_probes(const ProbeQuery& query, const std::string& pattern) {
  std::vector<Probe> out;
  if (!query.regular_expression && !base::is_pattern(pattern)) {
    out.push_back({ProbeKind::kernel_function, pattern, {.kind = AttachKind::kprobe, .target = pattern}});
    return out;
  }
  const auto session = std::make_shared<kernel::Session>(KernelOptions{});
  const Matcher matches = SKEP_TRY(matcher_of(pattern, query.regular_expression));
  for (const std::string& name : SKEP_TRY(kernel::probeable_functions(*session, true)))
    if (matches(name)) out.push_back({ProbeKind::kernel_function, name, {.kind = AttachKind::kprobe, .target = name}});
  return out;
}

Result<std::vector<Probe>> user_probes(const ProbeQuery& query, const std::string& file, const std::string& pattern) {
  const Matcher matches = SKEP_TRY(matcher_of(pattern, query.regular_expression));
  return in_library(query, file, [&](const elf::UserBinary& binary) -> Result<std::vector<Probe>> {
    std::vector<Probe> out;
    for (const elf::Function& function : SKEP_TRY(elf::functions(binary, matches)))
      out.push_back(
          {ProbeKind::user_function,
           function.name,
           {.kind = AttachKind::uprobe, .target = fmt::format("{}:{}", binary.path, function.name), .pid = query.pid}});
    return out;
  });
}

Probe tracepoint(const std::string& category, const std::string& event) {
  return {ProbeKind::tracepoint,
          fmt::format("{}:{}", category, event),
          {.kind = AttachKind::tracepoint, .target = fmt::format("{}/{}", category, event)}};
}

/// What the user engine has: system calls and the life of processes.
std::vector<std::string> events_of_user_engine(std::string_view category) {
  if (category == "raw_syscalls") return {"sys_enter", "sys_exit"};
  const auto of_life = hook::life_hooks_of(category);
  std::vector<std::string> out(of_life.begin(), of_life.end());
  for (u32 number = 0; category == "syscalls" && number < catalog::syscall_limit; ++number)
    if (const auto* row = catalog::syscall_row(number))
      for (const char* side : {"enter", "exit"}) out.push_back(fmt::format("sys_{}_{}", side, row->function));
  return out;
}

Result<std::vector<Probe>> tracepoints(const ProbeQuery& query, const std::string& category,
                                       const std::string& pattern) {
  if (!query.in_kernel) {
    const Matcher wanted = SKEP_TRY(matcher_of(pattern, query.regular_expression));
    std::vector<Probe> out;
    for (const std::string& event : events_of_user_engine(category))
      if (wanted(event)) out.push_back(tracepoint(category, event));
    return out;
  }
  const auto session = std::make_shared<kernel::Session>(KernelOptions{});
  const kernel::Tracefs* tracefs = SKEP_TRY(session->tracefs());
  const Matcher matches = SKEP_TRY(matcher_of(pattern, query.regular_expression));
  std::vector<Probe> out;
  for (const std::string& event : SKEP_TRY_AT("tracepoints of " + category, tracefs->list("events/" + category)))
    if (matches(event) && tracefs->event_id(category, event)) out.push_back(tracepoint(category, event));
  return out;
}

Result<std::vector<Probe>> static_probes(const ProbeQuery& query, const std::string& file, const std::string& pattern) {
  const Matcher matches = SKEP_TRY(matcher_of(pattern, query.regular_expression));
  return in_library(query, file, [&](const elf::UserBinary& binary) -> Result<std::vector<Probe>> {
    std::vector<Probe> out;
    for (const elf::UsdtNote& note : SKEP_TRY(elf::usdt_notes(binary.file))) {
      const std::string name = fmt::format("{}:{}", note.provider, note.name);
      const bool known = !out.empty() && out.back().name == name;  // a probe may have several places
      if (!known && (matches(note.name) || matches(name)))
        out.push_back(
            {ProbeKind::usdt,
             name,
             {.kind = AttachKind::usdt, .target = fmt::format("{}:{}", binary.path, name), .pid = query.pid}});
    }
    return out;
  });
}

Result<std::vector<Probe>> matching(const ProbeQuery& query) {
  const std::string& text = query.pattern;
  const auto first = text.find(':');
  if (first == std::string::npos) return kernel_probes(query, text);
  const std::string head = text.substr(0, first), rest = text.substr(first + 1);
  const auto second = rest.find(':');
  if ((head == "p" || head == "r") && second != std::string::npos)
    return second == 0 ? kernel_probes(query, rest.substr(1))
                       : user_probes(query, rest.substr(0, second), rest.substr(second + 1));
  if (head == "t" && second != std::string::npos)
    return tracepoints(query, rest.substr(0, second), rest.substr(second + 1));
  if (head == "u" && second != std::string::npos)
    return static_probes(query, rest.substr(0, second), rest.substr(second + 1));
  if (head == "t" || head == "u" || second != std::string::npos)
    return fail(Code::invalid_argument,
                fmt::format("'{}': expected FUNCTION, LIBRARY:FUNCTION, t:CATEGORY:EVENT or u:FILE:PROBE", text));
  return user_probes(query, head, rest);
}

}  // namespace

Result<std::vector<Probe>> find_probes(const ProbeQuery& query) {
  auto probes = SKEP_TRY(matching(query));
  if (probes.empty() && !query.in_kernel && query.pattern.starts_with("t:"))
    return fail(Code::not_found, fmt::format("nothing matches '{}' among the tracepoints of the user engine (syscalls, "
                                             "raw_syscalls, process life in sched, signal): --backend kernel has all",
                                             query.pattern));
  if (probes.empty()) return fail(Code::not_found, fmt::format("nothing matches '{}'", query.pattern));
  const ProbeKind kind = probes.front().kind;
  if (query.only_functions && kind != ProbeKind::kernel_function && kind != ProbeKind::user_function)
    return fail(Code::invalid_argument, fmt::format("'{}': only functions have a beginning and an end", query.pattern));
  if (probes.size() > query.most)
    return fail(Code::limit, fmt::format("'{}' matches {} places, more than {}: make it narrower", query.pattern,
                                         probes.size(), query.most));
  return probes;
}

std::optional<int> choose_engine(Kit& kit, const std::vector<Probe>& probes) {
  for (const Probe& probe : probes)
    if (probe.kind == ProbeKind::kernel_function) return kit.needs_kernel("functions of the kernel");
  return std::nullopt;
}

AttachTarget return_of(const AttachTarget& function) {
  AttachTarget out = function;
  out.kind = function.kind == AttachKind::uprobe ? AttachKind::uretprobe : AttachKind::kretprobe;
  return out;
}

}  // namespace skep::tools
