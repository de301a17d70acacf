// skep trace: any function, tracepoint or static probe, with a condition and a message.
//
// The probes become one C program in BCC's dialect, which clang compiles the first time and the cache has from then on:
// this tool, alone among them, needs clang at run time. Each probe has its own ring record: time, process, and the
// message's values; the text is made here.
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <optional>

#include "base/fd.hpp"
#include "base/split.hpp"
#include "compile/compile.hpp"
#include "kit/columns.hpp"
#include "kit/kit.hpp"
#include "kit/probe_text.hpp"
#include "kit/stacks.hpp"
#include "symbols/stack_traces.hpp"

namespace skep::tools {

const std::string_view trace_summary = "any function, tracepoint or static probe, with a condition and a message";

namespace {

struct TraceOptions {
  std::vector<std::string> probes, includes;
  u32 string_bytes = 80;
  u64 most_events = 0;
  std::optional<u32> tid, uid;
  u32 buffer_pages = 64;
  std::string cgroup, symbol_files;
  bool aggregate = false, binary = false, verbose = false, include_self = false, stamps = false, epoch = false,
       clock = false, cpus = false, user_stack = false, kernel_stack = false, addresses = false;
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
  if (!options.cgroup.empty()) out += "  if (!skep_in_cgroup()) return 0;\n";
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
  if (options.user_stack) out += "  r.user_stack = user_stacks.get_stackid(ctx, BPF_F_USER_STACK);\n";
  if (options.kernel_stack) out += "  r.kernel_stack = kernel_stacks.get_stackid(ctx, 0);\n";
  return out + "  events.ringbuf_output(&r, sizeof(r), 0);\n  return 0;\n}\n";
}

/// Whether the current task is in a control group or below: one of its ancestors is that one.
Result<std::string> cgroup_source(const std::string& path) {
  constexpr long cgroup2_magic = 0x63677270;  // statfs(2)
  struct statfs place{};
  struct stat facts{};
  if (::statfs(path.c_str(), &place) != 0 || ::stat(path.c_str(), &facts) != 0)
    return tl::unexpected(base::os_error("-c: " + path));
  if (static_cast<long>(place.f_type) != cgroup2_magic || !S_ISDIR(facts.st_mode))
    return fail(Code::invalid_argument,
                fmt::format("-c: {} is no control group: expected a directory in a cgroup2 hierarchy", path));
  return fmt::format(
      "static inline bool skep_in_cgroup(void) {{\n"
      "  bool found = false;\n"
      "  for (int level = 0; level < 64; level++) {{\n"
      "    u64 id = bpf_get_current_ancestor_cgroup_id(level);\n"
      "    if (!id) break;\n"
      "    found |= id == {}ull;\n  }}\n  return found;\n}}\n",
      facts.st_ino);
}

Result<std::string> generate(std::vector<OneProbe>& probes, const Kit& kit, const TraceOptions& options) {
  std::string out = "#include <linux/ptrace.h>\n";
  for (const std::string& header : options.includes) out += fmt::format("#include <{}>\n", header);
  out += fmt::format("BPF_RINGBUF_OUTPUT(events, {});\n", options.buffer_pages);
  if (!options.cgroup.empty()) out += SKEP_TRY(cgroup_source(options.cgroup));
  Comparisons comparisons(options.binary);
  for (OneProbe& probe : probes) probe.text.predicate = SKEP_TRY(comparisons.replace(probe.text, probe.text.predicate));
  out += comparisons.source();
  if (kit.in_kernel() && kit.has_command()) out += tree_source();
  if (options.user_stack)
    out += fmt::format("BPF_STACK_TRACE{}(user_stacks, 4096);\n", options.symbol_files.empty() ? "" : "_BUILDID");
  if (options.kernel_stack) out += "BPF_STACK_TRACE(kernel_stacks, 4096);\n";
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
  app.add_option("-b,--buffer-pages", options.buffer_pages,
                 "pages of the buffer that holds events until they are printed: a power of two")
      ->check(range(1, 1 << 18))
      ->capture_default_str();
  app.add_option("-c,--cgroup-path", options.cgroup, "only processes in this control group or below");
  app.add_flag("-B,--bin_cmp", options.binary, "STRCMP compares bytes, zeros too: STRCMP(\"\\x01\\x00\", arg2)");
  app.add_flag("-A,--aggregate", options.aggregate, "each line once, with how often it came, at the end (see -M)");
  app.add_option("-n,--name", options.name, "only processes whose names contain this");
  app.add_option("-f,--msg-filter", options.message, "only messages that contain this");
  const Option user_stack = app.add_flag("-U,--user-stack", options.user_stack, "the stack in user space");
  app.add_option("-s,--sym_file_list", options.symbol_files,
                 "files with symbols, separated by commas: stacks are told by build id and named from them")
      ->needs(user_stack);
  app.add_flag("-K,--kernel-stack", options.kernel_stack, "the stack in the kernel");
  app.add_flag("-a,--address", options.addresses, "addresses in stacks");
  app.add_option("-I,--include", options.includes, "one more header for types, such as linux/fs.h (repeatable)")
      ->allow_extra_args(false);
}

Result<ObjectSpec> compile_probes(Kit& kit, std::vector<OneProbe>& probes, const TraceOptions& options) {
  const std::string source = SKEP_TRY(generate(probes, kit, options));
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
  Printer(Kit& kit, const std::vector<OneProbe>& probes, const TraceOptions& options, Stacks& stacks)
      : kit_(kit), probes_(probes), options_(options), stacks_(stacks), columns_(kit.output(), columns_of(options)) {}
  void heading() { columns_.heading(); }

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
    Line line{{clock_time(), Decimal{seconds, 6}, head.cpu, head.pid, head.tid, text(head.comm), probe.text.function,
               message},
              kit_.json() ? std::vector<std::string>() : stacks_of(head)};
    if (options_.aggregate)
      aggregate(line, fmt::format("{} {} {} {}", head.pid, head.tid, text(head.comm), head.probe), message, seconds,
                head.cpu);
    else
      print_line(line);
    if (options_.most_events != 0 && ++printed_ >= options_.most_events) kit_.stop();
  }

  /// The most frequent first.
  void print_aggregated() {
    std::vector<const std::pair<const std::string, Counted>*> order;
    for (const auto& one : counted_) order.push_back(&one);
    std::stable_sort(order.begin(), order.end(),
                     [](const auto* a, const auto* b) { return a->second.count > b->second.count; });
    for (const auto* one : order) {
      Line line = one->second.line;
      line.cells.push_back(one->second.count);
      columns_.row(line.cells);
      if (kit_.json()) continue;
      for (const std::string& frame : line.stack) kit_.output().line(frame);
      kit_.output().line(fmt::format("-->COUNT {}", one->second.count));
      kit_.output().line("");
    }
  }

 private:
  struct Line {
    std::vector<Cell> cells;
    std::vector<std::string> stack;
  };
  struct Counted {
    Line line;
    u64 count = 0;
  };

  static std::vector<Column> columns_of(const TraceOptions& options) {
    std::vector<Column> out = {{"TIME", "time", -8, options.clock},
                               {"TIME", "time_s", options.epoch ? -17 : -11, options.stamps},
                               {"CPU", "cpu", -3, options.cpus},
                               {"PID", "pid", -7},
                               {"TID", "tid", -7},
                               {"COMM", "comm", -15},
                               {"FUNC", "func", -16},
                               {"-", "message"}};
    if (options.aggregate) out.push_back({"COUNT", "count", 0, false});
    return out;
  }

  /// Lines are the same when all that is printed of them is.
  void aggregate(const Line& line, std::string key, const std::string& message, double seconds, u32 cpu) {
    if (options_.clock) key += " " + clock_time();
    if (options_.stamps) key += fmt::format(" {}", seconds);
    if (options_.cpus) key += fmt::format(" {}", cpu);
    key += " " + message;
    for (const std::string& frame : line.stack) key += "\n" + frame;
    Counted& counted = counted_.try_emplace(key, Counted{line}).first->second;
    ++counted.count;
  }

  void print_line(const Line& line) {
    columns_.row(line.cells);
    for (const std::string& frame : line.stack) kit_.output().line(frame);
    if (!line.stack.empty()) kit_.output().line("");
  }

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
      if (probe.kinds[i] == 'K') value.text = stacks_.text(stacks_.symbolizer().kernel(value.number));
      if (probe.kinds[i] == 'U') value.text = stacks_.text(stacks_.symbolizer().user(head.pid, value.number));
      at += size;
      out.push_back(std::move(value));
    }
    return format_message(probe.text.format, out);
  }

  std::vector<std::string> stacks_of(const RecordHead& head) {
    std::vector<std::string> out;
    const auto add = [&](const StackLines& stack) {
      for (const auto& [address, name] : stack)
        out.push_back(options_.addresses ? fmt::format("        {:#018x} {}", address, name) : "        " + name);
    };
    if (const auto map = kit_.object().map("kernel_stacks"); options_.kernel_stack && map)
      add(stacks_.kernel(stack_of(*map, head.kernel_stack)));
    const auto map = kit_.object().map("user_stacks");
    if (!options_.user_stack || !map) return out;
    if (options_.symbol_files.empty())
      add(stacks_.user(head.pid, stack_of(*map, head.user_stack)));
    else if (const auto value = map->lookup(std::as_bytes(std::span(&head.user_stack, 1))); value)
      add(stacks_.lines(stacks_.symbolizer().build_id_stack(head.pid, symbols::stack_build_ids(*value))));
    return out;
  }

  Kit& kit_;
  const std::vector<OneProbe>& probes_;
  const TraceOptions& options_;
  Stacks& stacks_;
  Columns columns_;
  std::map<std::string, Counted> counted_;
  u64 printed_ = 0;
  u64 epoch_ns_ = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC);  ///< what programs' times lack to be since 1970
};

}  // namespace

int trace(const Arguments& arguments) {
  Kit kit({.name = "trace",
           .about = "Traces functions and tracepoints: a line for each hit that fulfils the condition, with values of "
                    "your choice.",
           .examples = "  skep trace 'do_sys_openat2 \"%s\", arg2@user'            # a function of the kernel\n"
                       "  skep trace 'sys_read (arg3 > 20000) \"%d bytes\", arg3'  # a system call\n"
                       "  skep trace 'r:c:malloc (retval == 0) \"no memory\"'      # returns of a library's function\n"
                       "  skep trace 'c:open(const char *path, int flags) (flags & 1) \"%s %x\", path, flags'\n"
                       "  skep trace 't:sched:sched_process_exec'                 # a tracepoint\n"
                       "  skep trace 'u:/usr/bin/python3:gc__start \"generation %d\", arg1'   # a static probe\n"
                       "  skep trace 't:syscalls:sys_enter_openat \"%s\", args->filename' -- cat /etc/hostname",
           .user_engine = true,
           .compiled_at_run_time = true});
  TraceOptions options;
  Stacks stacks({.offset = true, .module = true});
  add_options(kit, options);
  stacks.add_options(kit.options());
  if (auto status = kit.parse(arguments)) return *status;
  if (options.tid && kit.pid() != 0) return kit.complain("give a process (-p) or a thread (-L), not both");
  if (!std::has_single_bit(options.buffer_pages))
    return kit.complain(fmt::format("-b: {} pages; expected a power of two, such as {}", options.buffer_pages,
                                    std::bit_ceil(options.buffer_pages)));
  for (const std::string& path : base::split(options.symbol_files, ','))
    if (auto added = path.empty() ? Result<void>() : stacks.symbolizer().add_file(path); !added)
      return kit.complain("-s: " + added.error().message);
  std::vector<OneProbe> probes;
  for (const std::string& text : options.probes) {
    auto probe = read_probe(text);
    if (!probe) return kit.complain(probe.error());
    probes.push_back(*std::move(probe));
  }
  auto spec = compile_probes(kit, probes, options);
  if (!spec) return kit.complain(spec.error());
  kit.use(*std::move(spec));
  Printer printer(kit, probes, options, stacks);
  if (options.aggregate) kit.on_summary([&] { printer.print_aggregated(); });
  kit.on_bytes("events", sizeof(RecordHead), [&](std::span<const std::byte> bytes) { printer.print(bytes); });
  if (std::any_of(
          probes.begin(), probes.end(),
          [](const OneProbe& one) { return std::find(one.kinds.begin(), one.kinds.end(), 'U') != one.kinds.end(); }) ||
      options.user_stack)
    kit.name_stacks_by(stacks.symbolizer());
  return kit.run([&] { printer.heading(); });
}

}  // namespace skep::tools
