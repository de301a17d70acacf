// skep trace: any function, tracepoint or static probe, with a condition and a message.
//
// The probes become one C program in BCC's dialect, which clang compiles the first time and the cache has from then on:
// this tool, alone among them, needs clang at run time. Each probe has its own ring record: time, process, and the
// message's values; the text is made here.
#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "compile/compile.hpp"
#include "kit/columns.hpp"
#include "kit/kit.hpp"
#include "kit/probe_text.hpp"
#include "kit/stacks.hpp"

namespace skep::tools {

const std::string_view trace_summary = "any function, tracepoint or static probe, with a condition and a message";

namespace {

struct TraceOptions {
  std::vector<std::string> probes, includes;
  u32 string_bytes = 80;
  u64 most_events = 0;
  std::optional<u32> tid, uid;
  bool verbose = false, include_self = false, stamps = false, epoch = false, clock = false, cpus = false,
       user_stack = false, kernel_stack = false, addresses = false;
  std::string name, message;
};

/// As the generated program lays it out, before the values.
struct RecordHead {
  u64 time_ns;
  u32 probe, pid, tid, cpu;
  char comm[16];
  s32 user_stack, kernel_stack;
};
constexpr std::string_view record_head =
    "  u64 time_ns;\n  u32 probe, pid, tid, cpu;\n  char comm[16];\n  int user_stack, kernel_stack;\n";

struct Field {
  std::string c;  ///< the expression
  bool is_text = false, of_user = false;
};

struct OneProbe {
  ProbeText text;
  std::vector<char> kinds;
  std::vector<Field> fields;
};

Result<OneProbe> read_probe(const std::string& text) {
  OneProbe out;
  out.text = SKEP_TRY(parse_probe(text));
  out.kinds = SKEP_TRY(conversions(out.text.format));
  for (std::size_t i = 0; i < out.kinds.size(); ++i) {
    const TextValue value = text_value(out.text, out.text.values[i]);
    out.fields.push_back({value.c, out.kinds[i] == 's', value.of_user});
  }
  return out;
}

std::string generate_probe(const OneProbe& probe, std::size_t number, const Kit& kit, const TraceOptions& options) {
  const std::string name = fmt::format("probe_{}", number);
  std::string out = fmt::format("struct record_{} {{\n{}", number, record_head);
  for (std::size_t i = 0; i < probe.fields.size(); ++i)
    out += probe.fields[i].is_text ? fmt::format("  char v{}[{}];\n", i, (options.string_bytes + 7) / 8 * 8)
                                   : fmt::format("  u64 v{};\n", i);
  out += fmt::format("}};\n#line 1 \"probe {}\"\n", number + 1) + handler_head(probe.text, name);
  if (kit.in_kernel() && kit.pid() != 0)
    out += fmt::format("  if (bpf_get_current_pid_tgid() >> 32 != {}) return 0;\n", kit.pid());
  if (kit.in_kernel() && kit.has_command()) out += tree_filter();
  if (options.tid) out += fmt::format("  if ((u32)bpf_get_current_pid_tgid() != {}) return 0;\n", *options.tid);
  if (options.uid) out += fmt::format("  if ((u32)bpf_get_current_uid_gid() != {}) return 0;\n", *options.uid);
  if (!probe.text.predicate.empty())
    out += fmt::format("  if (!({})) return 0;\n", expression(probe.text, probe.text.predicate));
  out += fmt::format("  struct record_{0} r = {{.time_ns = bpf_ktime_get_ns(), .probe = {0}}};\n", number);
  out +=
      "  u64 id = bpf_get_current_pid_tgid();\n  r.pid = id >> 32;\n  r.tid = id;\n  r.cpu = "
      "bpf_get_smp_processor_id();\n";
  out += "  bpf_get_current_comm(r.comm, sizeof(r.comm));\n";
  for (std::size_t i = 0; i < probe.fields.size(); ++i) {
    const Field& field = probe.fields[i];
    if (field.is_text)
      out += fmt::format("  bpf_probe_read_{}_str(r.v{}, {}, (void *)({}));\n", field.of_user ? "user" : "kernel", i,
                         options.string_bytes, field.c);
    else
      out += fmt::format("  r.v{} = (u64)({});\n", i, field.c);
  }
  if (options.user_stack) out += "  r.user_stack = stacks.get_stackid(ctx, BPF_F_USER_STACK);\n";
  if (options.kernel_stack) out += "  r.kernel_stack = stacks.get_stackid(ctx, 0);\n";
  return out + "  events.ringbuf_output(&r, sizeof(r), 0);\n  return 0;\n}\n";
}

std::string generate(const std::vector<OneProbe>& probes, const Kit& kit, const TraceOptions& options) {
  std::string out = "#include <linux/ptrace.h>\n";
  for (const std::string& header : options.includes) out += fmt::format("#include <{}>\n", header);
  out += "BPF_RINGBUF_OUTPUT(events, 64);\n";
  if (kit.in_kernel() && kit.has_command()) out += tree_source();
  if (options.user_stack || options.kernel_stack) out += "BPF_STACK_TRACE(stacks, 4096);\n";
  for (std::size_t i = 0; i < probes.size(); ++i) out += generate_probe(probes[i], i, kit, options);
  return out;
}

void add_options(Kit& kit, TraceOptions& options) {
  auto& app = kit.options();
  kit.wants_pid();
  app.add_option("PROBE", options.probes,
                 "[p|r|t|u]:[LIBRARY|CATEGORY]:NAME[(SIGNATURE)] [(CONDITION)] [\"FORMAT\", VALUE...]")
      ->required();
  app.add_option("-L,--tid", options.tid, "this thread only")->check(range(1, 1 << 22));
  app.add_option("--uid", options.uid, "this user only, by number");
  app.add_option("-Z,--string-size", options.string_bytes, "the most bytes of a string")
      ->check(range(1, 200))
      ->capture_default_str();
  app.add_option("-M,--max-events", options.most_events, "ends after so many events")->check(above_zero());
  app.add_flag("-S,--include-self", options.include_self, "skep's own process, too");
  app.add_flag("-v,--verbose", options.verbose, "prints the C program before it runs");
  const Option stamps = app.add_flag("-t,--timestamp", options.stamps, "seconds since the first");
  app.add_flag("-u,--unix-timestamp", options.epoch, "with -t: seconds since 1970 instead")->needs(stamps);
  app.add_flag("-T,--time", options.clock, "the time of day");
  app.add_flag("-C,--print_cpu", options.cpus, "a column for the CPU");
  app.add_option("-n,--name", options.name, "only processes whose names contain this");
  app.add_option("-f,--msg-filter", options.message, "only messages that contain this");
  app.add_flag("-U,--user-stack", options.user_stack, "the stack in user space");
  app.add_flag("-K,--kernel-stack", options.kernel_stack, "the stack in the kernel");
  app.add_flag("-a,--address", options.addresses, "addresses in stacks");
  app.add_option("-I,--include", options.includes, "one more header for types, such as linux/fs.h (repeatable)")
      ->allow_extra_args(false);
}

Result<ObjectSpec> compile_probes(Kit& kit, const std::vector<OneProbe>& probes, const TraceOptions& options) {
  const std::string source = generate(probes, kit, options);
  if (options.verbose) fmt::print(stderr, "{}", source);
  compile::CompileOptions compiling;
  compiling.dialect = compile::Dialect::bcc;
  auto spec = SKEP_TRY(compile::load_text(source, "trace.c", compiling));
  for (std::size_t i = 0; i < probes.size(); ++i) {
    ProgramSpec* program = spec.program(fmt::format("probe_{}", i));
    if (program == nullptr) return fail(Code::malformed, "the compiled program has no handler for a probe");
    program->attach = SKEP_TRY(target_of(probes[i].text, kit.pid()));
    program->type = program->attach.program_type();
  }
  return spec;
}

u64 clock_ns(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

class Printer {
 public:
  Printer(Kit& kit, const std::vector<OneProbe>& probes, const TraceOptions& options)
      : kit_(kit),
        probes_(probes),
        options_(options),
        columns_(kit.output(), {{"TIME", "time", -8, options.clock},
                                {"TIME", "time_s", options.epoch ? -17 : -11, options.stamps},
                                {"CPU", "cpu", -3, options.cpus},
                                {"PID", "pid", -7},
                                {"TID", "tid", -7},
                                {"COMM", "comm", -15},
                                {"FUNC", "func", -16},
                                {"-", "message"}}) {}
  void heading() { columns_.heading(); }

  void look_at(u32 pid) { stacks_.remember(pid); }

  void print(std::span<const std::byte> bytes) {
    RecordHead head;
    std::memcpy(&head, bytes.data(), sizeof head);
    if (head.probe >= probes_.size() || (options_.most_events != 0 && printed_ >= options_.most_events)) return;
    const OneProbe& probe = probes_[head.probe];
    const std::string message = message_of(probe, head, bytes.subspan(sizeof head));
    if (!options_.name.empty() && text(head.comm).find(options_.name) == std::string_view::npos) return;
    if (!options_.message.empty() && message.find(options_.message) == std::string::npos) return;
    const double seconds =
        options_.epoch ? static_cast<double>(head.time_ns + epoch_ns_) / 1e9 : seconds_since_start(head.time_ns);
    columns_.row({clock_time(), Decimal{seconds, 6}, head.cpu, head.pid, head.tid, text(head.comm), probe.text.function,
                  message});
    if (!kit_.json()) print_stacks(head);
    if (options_.most_events != 0 && ++printed_ >= options_.most_events) kit_.stop();
  }

 private:
  std::string message_of(const OneProbe& probe, const RecordHead& head, std::span<const std::byte> values) {
    std::vector<MessageValue> out;
    std::size_t at = 0;
    for (std::size_t i = 0; i < probe.fields.size(); ++i) {
      MessageValue value;
      const std::size_t size = probe.fields[i].is_text ? (options_.string_bytes + 7) / 8 * 8 : sizeof(u64);
      if (at + size > values.size()) break;
      const auto* begin = reinterpret_cast<const char*>(values.data() + at);
      if (probe.fields[i].is_text)
        value.text.assign(begin, ::strnlen(begin, size));
      else
        std::memcpy(&value.number, begin, sizeof value.number);
      if (probe.kinds[i] == 'K') value.text = stacks_.kernel(std::span(&value.number, 1)).front();
      if (probe.kinds[i] == 'U') value.text = stacks_.user(head.pid, std::span(&value.number, 1)).front();
      at += size;
      out.push_back(std::move(value));
    }
    return format_message(probe.text.format, out);
  }

  void print_stacks(const RecordHead& head) {
    if (!options_.user_stack && !options_.kernel_stack) return;
    const auto map = kit_.object().map("stacks");
    if (!map) return;
    const auto lines = [&](const std::vector<u64>& addresses, const std::vector<std::string>& names) {
      for (std::size_t i = 0; i < names.size(); ++i)
        kit_.output().line(options_.addresses ? fmt::format("        {:#018x} {}", addresses[i], names[i])
                                              : "        " + names[i]);
    };
    if (options_.kernel_stack) {
      const auto addresses = stack_of(*map, head.kernel_stack);
      lines(addresses, stacks_.kernel(addresses));
    }
    if (options_.user_stack) {
      const auto addresses = stack_of(*map, head.user_stack);
      lines(addresses, stacks_.user(head.pid, addresses));
    }
    kit_.output().line("");
  }

  Kit& kit_;
  const std::vector<OneProbe>& probes_;
  const TraceOptions& options_;
  Columns columns_;
  Stacks stacks_{{.offset = true, .module = true}};
  u64 printed_ = 0;
  u64 epoch_ns_ = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC);  ///< what programs' times lack to be since 1970
};

}  // namespace

int trace(const Arguments& arguments) {
  Kit kit({.name = "trace",
           .about = "Traces functions and tracepoints: a line for each hit that fulfils the condition, with values of "
                    "your choice.",
           .examples = "  skep trace 'do_sys_openat2 \"%s\", arg2@user'            # a function of the kernel\n"
                       "  skep trace 'r:c:malloc (retval == 0) \"no memory\"'      # returns of a library's function\n"
                       "  skep trace 'c:open(const char *path, int flags) (flags & 1) \"%s %x\", path, flags'\n"
                       "  skep trace 't:sched:sched_process_exec'                 # a tracepoint\n"
                       "  skep trace 'u:/usr/bin/python3:gc__start \"generation %d\", arg1'   # a static probe\n"
                       "  skep trace 't:syscalls:sys_enter_openat \"%s\", args->filename' -- cat /etc/hostname",
           .user_engine = true,
           .compiled_at_run_time = true});
  TraceOptions options;
  add_options(kit, options);
  if (auto status = kit.parse(arguments)) return *status;
  if (options.tid && kit.pid() != 0) return complain("give a process (-p) or a thread (-L), not both");
  std::vector<OneProbe> probes;
  for (const std::string& text : options.probes) {
    auto probe = read_probe(text);
    if (!probe) return complain(probe.error());
    probes.push_back(*std::move(probe));
  }
  auto spec = compile_probes(kit, probes, options);
  if (!spec) return complain(spec.error());
  kit.use(*std::move(spec));
  Printer printer(kit, probes, options);
  kit.on_bytes("events", sizeof(RecordHead), [&](std::span<const std::byte> bytes) { printer.print(bytes); });
  if (std::any_of(
          probes.begin(), probes.end(),
          [](const OneProbe& one) { return std::find(one.kinds.begin(), one.kinds.end(), 'U') != one.kinds.end(); }) ||
      options.user_stack)
    kit.while_alive([&](u32 pid) { printer.look_at(pid); });
  return kit.run([&] { printer.heading(); });
}

}  // namespace skep::tools
