// skep execsnoop: every program that is started.
#include "execsnoop/execsnoop.h"

#include <fmt/format.h>

#include <cstring>
#include <regex>

#include "kit/columns.hpp"
#include "kit/containers.hpp"
#include "kit/kit.hpp"

namespace skep::tools {

const std::string_view execsnoop_summary = "programs started: who, by whom, with which arguments";

namespace {

struct ExecOptions {
  bool times = false, stamps = false, failures = false, quoted = false, uids = false;
  std::string name, line;
  u32 most_arguments = 20, parent = 0;
};

/// The arguments side by side, as a person would have typed them.
std::string command_line(const exec_event& event, const ExecOptions& options) {
  std::string line;
  std::string_view rest(event.text, std::min<std::size_t>(event.bytes, sizeof event.text));
  u32 count = 0;
  bool more = event.truncated == 1;
  while (!rest.empty()) {
    if (count == options.most_arguments) {
      more = true;
      break;
    }
    const auto end = std::min(rest.find('\0'), rest.size());
    std::string argument(rest.substr(0, end));
    if (options.quoted) {
      for (std::size_t at = 0; (at = argument.find_first_of("\"\\", at)) != std::string::npos; at += 2)
        argument.insert(at, 1, '\\');
      argument = "\"" + argument + "\"";
    }
    line += (count++ == 0 ? "" : " ") + argument;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return more ? line + " ..." : line;
}

void add_options(Kit& kit, ExecOptions& options) {
  auto& app = kit.options();
  kit.wants_pid();
  kit.wants_uid("-u,--uid");
  app.add_flag("-T,--time", options.times, "the time of day of each");
  app.add_flag("-t,--timestamp", options.stamps, "seconds since the first");
  app.add_flag("-x,--fails", options.failures, "those that failed, too");
  app.add_flag("-q,--quote", options.quoted, "arguments in quotation marks");
  app.add_option("-n,--name", options.name, "only commands whose names match this regular expression");
  app.add_option("-l,--line", options.line, "only commands whose arguments match this regular expression");
  app.add_flag("-U,--print-uid", options.uids, "a column for the user");
  app.add_option("--max-args", options.most_arguments, "arguments that are shown")
      ->check(range(1, static_cast<int>(EXEC_MOST_ARGUMENTS)))
      ->capture_default_str();
  app.add_option("-P,--ppid", options.parent, "only children of this process")->check(range(1, 1 << 22));
}

}  // namespace

int execsnoop(const Arguments& arguments) {
  Kit kit({.name = "execsnoop",
           .about = "Traces exec(): new programs, with their parents and arguments.",
           .examples = "  skep execsnoop                     # every program the machine starts\n"
                       "  skep execsnoop -x -T               # failed ones too, with the time of day\n"
                       "  skep execsnoop -u www-data         # of one user\n"
                       "  skep execsnoop -l testpkg          # whose arguments contain \"testpkg\"\n"
                       "  skep execsnoop -- make             # of one command, without privileges",
           .user_engine = true});
  ExecOptions options;
  add_options(kit, options);
  Containers containers(kit);
  if (auto status = kit.parse(arguments)) return *status;
  if (auto opened = containers.open(); !opened) return kit.complain(opened.error());
  std::regex name, line;
  try {
    name = options.name;
    line = options.line;
  } catch (const std::regex_error& error) {
    return kit.complain(fmt::format("-n, -l: not a regular expression: {}", error.what()));
  }
  kit.set("most_arguments", options.most_arguments);
  kit.set("wanted_parent", options.parent);
  kit.set("with_failures", options.failures);

  Columns columns(kit.output(), {{"TIME", "time", -8, options.times},
                                 {"TIME(s)", "time_s", -8, options.stamps},
                                 {"UID", "uid", -6, options.uids},
                                 {"PCOMM", "comm", -16},
                                 {"PID", "pid", -7},
                                 {"PPID", "ppid", -7},
                                 {"RET", "ret", 3},
                                 {"ARGS", "args"}});
  kit.on_bytes("events", offsetof(exec_event, text), [&](std::span<const std::byte> bytes) {
    static exec_event event;
    std::memcpy(&event, bytes.data(), std::min(bytes.size(), sizeof event));
    event.bytes = static_cast<__u32>(std::min<std::size_t>(event.bytes, bytes.size() - offsetof(exec_event, text)));
    const std::string args = command_line(event, options);
    const std::string comm(text(event.comm));
    if (!options.name.empty() && !std::regex_search(comm, name)) return;
    if (!options.line.empty() && !std::regex_search(args, line)) return;
    columns.row({clock_time(), Decimal{seconds_since_start(event.time_ns), 3}, event.uid, comm, event.pid, event.parent,
                 event.result, args});
  });
  return kit.run([&] { columns.heading(); });
}

}  // namespace skep::tools
