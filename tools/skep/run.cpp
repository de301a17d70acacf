// skep run: a program from source or object, attached, fed by a command or a process, its output printed.
//
// One pass: read the program, choose the engine, load, attach, start the printer, run the workload, print
// what is left (maps, losses), end as the command ended. The engine's loop runs on this thread; a second
// thread prints, so a slow terminal never holds up the traced processes.
#include <fmt/core.h>

#include <algorithm>
#include <skep/backend.hpp>

#include "compile/compile.hpp"
#include "interruption.hpp"
#include "symbols/stack_traces.hpp"
#include "trace/events.hpp"
#include "trace/map_table.hpp"
#include "trace/pump.hpp"
#include "verb.hpp"

namespace skep::tools {
namespace {

struct RunOptions {
  std::string file;
  std::string backend;
  std::string program;
  std::string btf;
  std::vector<std::string> attach;
  Workload workload;
  std::vector<std::string> cflags;
  double interval_seconds = 0;
  bool json = false;
  Form form() const { return json ? Form::json : Form::text; }
  bool quiet = false;
  bool log = false;
};

std::optional<int> parse_options(Arguments arguments, RunOptions& options) {
  if (const auto dashes = std::find(arguments.begin(), arguments.end(), "--"); dashes != arguments.end()) {
    options.workload.command.assign(dashes + 1, arguments.end());
    arguments.erase(dashes, arguments.end());
    if (options.workload.command.empty())
      return complain("`--` must be followed by a command to run", 2, form_of(arguments));
  }
  Options app("Loads a program, attaches it, runs a command (or watches a process), prints what the program says.",
              "run");
  app.add_option("FILE", options.file, "C source (BCC dialect or libbpf style) or ELF object")->required();
  app.add_option("--backend", options.backend,
                 "user (no privileges) or kernel; default: user with a command or -p, else kernel")
      ->check(one_of({"user", "kernel"}));
  app.add_option("--program", options.program, "run only this program of the file");
  app.add_option("--attach", options.attach,
                 "where: syscall:execve, syscall:openat:exit, tracepoint:syscalls:sys_enter_openat, kprobe:NAME, "
                 "uprobe:FILE:FUNCTION, xdp:INTERFACE, cgroup/connect4:PATH ..., or a SEC() name; PROGRAM=WHERE for "
                 "one of several programs (repeatable)")
      ->allow_extra_args(false);
  app.add_option("-p,--pid", options.workload.pid, "observe this running process and its children")
      ->check(range(1, 1 << 22));
  app.add_option("--interval", options.interval_seconds, "print the maps every so many seconds")->check(duration());
  app.add_option("--btf", options.btf,
                 "kernel engine: a BTF file with this kernel's types, where it does not tell them itself");
  app.add_option("--cflag", options.cflags, "one more argument for clang (repeatable)");
  app.add_flag("-j,--json", options.json, "one JSON object a line");
  app.add_flag("-q,--quiet", options.quiet, "print no maps and no notes");
  app.add_flag("--log", options.log, "the kernel verifier's whole log after a refusal");
  app.footer(
      "example:\n  skep run hello.bpf.c --program hello --attach syscall:execve -- sh -c 'ls; date'\n\n"
      "exits as the command does; trace_printk lines in the trace-pipe format");
  if (auto status = app.parse(arguments)) return status;
  if (!options.workload.command.empty() && options.workload.pid != 0)
    return complain("give a command or -p PID, not both", 2, options.form());
  return std::nullopt;
}

/// Puts one program where `text` says: "WHERE", or "PROGRAM=WHERE".
Result<void> put_program(ObjectSpec& spec, const std::string& text, const RunOptions& options) {
  const auto equals = text.find('=');
  ProgramSpec* program = equals == std::string::npos ? nullptr : spec.program(text.substr(0, equals));
  const std::string where = program != nullptr ? text.substr(equals + 1) : text;
  if (program == nullptr) {
    const auto chosen = [&](const ProgramSpec& one) { return one.autoload; };
    if (std::count_if(spec.programs.begin(), spec.programs.end(), chosen) != 1)
      return fail(
          Code::invalid_argument,
          fmt::format("{}: --attach {} does not say which of the programs; write --attach PROGRAM={}, or name one "
                      "with --program",
                      options.file, text, text));
    program = &*std::find_if(spec.programs.begin(), spec.programs.end(), chosen);
  }
  const AttachTarget target = SKEP_TRY_AT("--attach", AttachTarget::from_text(where));
  // Run as another type, a program would read what is no context of its own, and its result would mean something else:
  // 1 lets a connection pass, and drops every packet of an interface.
  if (program->attach.kind != AttachKind::none && program->type != target.program_type())
    return fail(Code::invalid_argument,
                fmt::format("--attach {}: program {} is of type {} (section \"{}\"), and {} runs programs of type {}; "
                            "attach it to a hook of its own type, or change its SEC()",
                            text, program->name, name_of(program->type), program->section, where,
                            name_of(target.program_type())));
  program->attach = target;
  program->type = target.program_type();
  return {};
}

/// Keeps the program that was asked for, and puts it where it was asked to be.
Result<void> choose_program(ObjectSpec& spec, const RunOptions& options) {
  if (spec.programs.empty())
    return fail(
        Code::invalid_argument,
        options.file + ": no program in this file: a function with SEC(\"...\"), or a BCC-dialect function, is one");
  if (!options.program.empty()) {
    if (spec.program(options.program) == nullptr) {
      std::string names;
      for (const auto& program : spec.programs) names.append(names.empty() ? "" : ", ").append(program.name);
      return fail(Code::not_found,
                  fmt::format("{}: no program '{}'; there are: {}", options.file, options.program, names));
    }
    for (auto& program : spec.programs) program.autoload = program.name == options.program;
  }
  for (const std::string& text : options.attach) SKEP_TRY(put_program(spec, text, options));
  return {};
}

Result<std::unique_ptr<Backend>> choose_engine(const RunOptions& options) {
  const bool has_workload = !options.workload.command.empty() || options.workload.pid != 0;
  const bool user = options.backend.empty() ? has_workload : options.backend == "user";
  if (user && !has_workload)
    return fail(
        Code::invalid_argument,
        "the user engine observes a command or a process: add `-- CMD` or `-p PID` (system-wide: --backend kernel)");
  if (user && !options.btf.empty())
    return fail(Code::invalid_argument,
                "--btf: the types of a kernel are of use in the kernel engine only: add --backend kernel");
  return user ? user_backend() : kernel_backend({.btf = options.btf, .token = {}});
}

/// Attaches every loaded program; the links live in what is returned.
Result<std::vector<Link>> attach_all(Object& object, const RunOptions& options) {
  std::vector<Link> links;
  for (auto& program : object.programs()) {
    const std::string& name = program.info().name;
    if (program.target().kind == AttachKind::none)
      return fail(
          Code::invalid_argument,
          fmt::format(
              "program {}: its section says no place to attach to; add --attach, for example --attach syscall:execve",
              name));
    AttachTarget target = program.target();
    target.pid = options.workload.pid;
    links.push_back(SKEP_TRY(program.attach(target)));
  }
  if (links.empty())
    return fail(
        Code::invalid_argument,
        options.file + ": nothing was attached: no program of this file is loaded by default; name one with --program");
  return links;
}

bool is_iterator(const Program& program) { return program.target().kind == AttachKind::iter; }

/// Prints what the iterators among the programs write.
Result<void> print_iterators(Object& object, std::vector<Link>& links) {
  for (std::size_t i = 0; i < links.size(); ++i)
    if (is_iterator(object.programs()[i]))
      SKEP_TRY(links[i].read_output(
          [](std::string_view text) { return std::fwrite(text.data(), 1, text.size(), stdout) == text.size(); }));
  return {};
}

/// Stacks by name: the kernel's frames, and those of the process that was asked for; of others the addresses.
class StackNames {
 public:
  explicit StackNames(u32 pid) : pid_(pid) {}
  std::vector<std::string> operator()(std::span<const std::byte> value, bool build_ids) {
    constexpr symbols::FrameStyle style{.offset = true, .module = true};
    std::vector<std::string> lines;
    if (build_ids) {
      for (const auto& frame : symbolizer_.build_id_stack(pid_, symbols::stack_build_ids(value)))
        lines.push_back(symbols::text(frame, style));
      return lines;
    }
    const auto addresses = symbols::stack_addresses(value);
    const bool in_kernel = !addresses.empty() && addresses.front() >> 63 != 0;
    if (!in_kernel && pid_ == 0) {
      for (const u64 address : addresses) lines.push_back(fmt::format("{:#x}", address));
      return lines;
    }
    for (const auto& frame : in_kernel ? symbolizer_.kernel(addresses) : symbolizer_.user_stack(pid_, addresses))
      lines.push_back(symbols::text(frame, style));
    return lines;
  }

 private:
  u32 pid_;
  symbols::Symbolizer symbolizer_;
};

Result<int> run(const RunOptions& options) {
  compile::CompileOptions compile_options;
  compile_options.cflags = options.cflags;
  auto spec = SKEP_TRY(compile::load_program(options.file, compile_options));
  SKEP_TRY(choose_program(spec, options));
  auto engine = SKEP_TRY(choose_engine(options));
  auto loaded = engine->load(spec, {.programs = {}, .verifier_log = options.log});
  if (options.log) fmt::print(stderr, "{}", engine->verifier_log());
  if (!loaded && loaded.error().code == Code::rejected && engine->name() == "kernel")
    fmt::print(stderr, "{}",
               explain_for_kernel(spec, engine->verifier_log()));  // ours first: it names the line and what to do
  auto object = SKEP_TRY(std::move(loaded));
  auto links = SKEP_TRY(attach_all(object, options));
  if (options.workload.command.empty() && std::ranges::all_of(object.programs(), is_iterator)) {
    SKEP_TRY(print_iterators(object, links));
    return 0;
  }

  trace::Output output(options.json);
  StackNames names(static_cast<u32>(options.workload.pid));
  const auto print_maps = [&] { trace::print_maps(object, spec, std::ref(names), output); };
  trace::Pump pump = SKEP_TRY(trace::Pump::open(*engine, object, spec, output));
  if (options.interval_seconds > 0)
    pump.every(std::chrono::milliseconds(static_cast<long>(options.interval_seconds * 1000)), print_maps);
  Interruption interruption([&] { engine->stop(); });
  pump.start();
  Workload workload = options.workload;
  std::string how;
  workload.on_start = [&](int pid) {
    interruption.command_started(pid);
    how = engine->notes();
    note(fmt::format("{} engine{}{}", engine->name(), how.empty() ? "" : ": ", how), options.quiet);
    if (pid != 0 && engine->name() == "kernel")
      note("the kernel's hooks see the whole machine, not only the command", options.quiet);
  };
  auto result = engine->run(workload);
  interruption.end();
  SKEP_TRY(print_iterators(object, links));
  detach_all(links);
  pump.finish();
  if (!result) {
    return complain_of_run(result.error(), !options.workload.command.empty(), options.form());
  }
  const RunResult ended = *result;

  if (!options.quiet) print_maps();
  output.flush();
  note_news(how, engine->notes());
  if (pump.lost() > 0) note(fmt::format("{} events were lost: the reader was slower than the program", pump.lost()));
  return interruption.status_for(ended, !options.workload.command.empty());
}

}  // namespace

int run_verb(const Arguments& arguments) {
  RunOptions options;
  if (auto status = parse_options(arguments, options)) return *status;
  auto status = run(options);
  return status ? *status : complain(status.error(), options.form());
}

}  // namespace skep::tools
