// skep memleak: allocations that nobody frees, by the stacks that made them.
#include "memleak/memleak.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "base/split.hpp"
#include "kit/choice.hpp"
#include "kit/columns.hpp"
#include "kit/kit.hpp"
#include "kit/stacks.hpp"

namespace skep::tools {

const std::string_view memleak_summary = "allocations that are not freed, by their stacks";

namespace {

struct LeakOptions {
  bool show_allocations = false, tell_calls = false, combined_only = false, missing_frees = false, per_cpu = false;
  u32 older_ms = 500, top = 10;
  u64 sample_every = 1, least_bytes = 0, most_bytes = ~u64{0};
  std::string library = "libc.so.6", command;
};

struct UserFunction {
  std::string_view program, function;
  bool at_return;
  bool needed;
};
constexpr UserFunction user_functions[] = {
    {"malloc_enter", "malloc", false, true},
    {"alloc_exit", "malloc", true, true},
    {"calloc_enter", "calloc", false, true},
    {"alloc_exit", "calloc", true, true},
    {"realloc_enter", "realloc", false, true},
    {"alloc_exit", "realloc", true, true},
    {"mmap_enter", "mmap", false, false},
    {"alloc_exit", "mmap", true, false},
    {"posix_memalign_enter", "posix_memalign", false, false},
    {"posix_memalign_exit", "posix_memalign", true, false},
    {"aligned_alloc_enter", "aligned_alloc", false, false},
    {"alloc_exit", "aligned_alloc", true, false},
    {"memalign_enter", "memalign", false, false},
    {"alloc_exit", "memalign", true, false},
    {"valloc_enter", "valloc", false, false},
    {"alloc_exit", "valloc", true, false},
    {"pvalloc_enter", "pvalloc", false, false},
    {"alloc_exit", "pvalloc", true, false},
    {"free_enter", "free", false, true},
    {"munmap_enter", "munmap", false, false},
};

u64 monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<u64>(now.tv_sec) * 1000000000u + static_cast<u64>(now.tv_nsec);
}

struct Leak {
  u64 bytes = 0, count = 0, pid = 0;
};

using Leaks = std::map<std::pair<s64, u64>, Leak>;  // by stack and process

/// As the program has counted them.
Result<Leaks> combined_leaks(Kit& kit) {
  Leaks out;
  for (const auto& [key, sum] : SKEP_TRY((kit.entries<combined_key, combined>("combineds"))))
    if (sum.count != 0) out[{key.stack, key.pid}] = {sum.bytes, sum.count, key.pid};
  return out;
}

/// Of the allocations that are old enough.
Result<Leaks> counted_leaks(Kit& kit, const LeakOptions& options) {
  const auto rows = SKEP_TRY((kit.entries<allocation_key, allocation>("allocations")));
  const u64 now = monotonic_ns();
  Leaks by_stack;
  for (const auto& [key, one] : rows) {
    if (one.time_ns + u64{options.older_ms} * 1000000 > now) continue;
    Leak& leak = by_stack[{one.stack, key.pid}];
    leak.bytes += one.size, ++leak.count, leak.pid = key.pid;
    if (options.show_allocations && !kit.json())
      kit.output().line(fmt::format("\taddr = {:x} size = {}", key.address, one.size));
  }
  return by_stack;
}

void print_leaks(Kit& kit, const LeakOptions& options, Stacks& stacks) {
  if (!kit.json())
    kit.output().line(fmt::format("[{}] Top {} stacks with outstanding allocations:", clock_time(), options.top));
  const auto by_stack = options.combined_only ? combined_leaks(kit) : counted_leaks(kit, options);
  if (!by_stack) return note(by_stack.error().message);
  std::vector<std::pair<std::pair<s64, u64>, Leak>> sorted(by_stack->begin(), by_stack->end());
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second.bytes < b.second.bytes; });
  if (sorted.size() > options.top) sorted.erase(sorted.begin(), sorted.end() - options.top);
  const Map map = *kit.object().map("stacks");
  for (const auto& [key, leak] : sorted) {
    const auto addresses = stack_of(map, key.first);
    const StackLines stack =
        leak.pid != 0 ? stacks.user(static_cast<u32>(leak.pid), addresses) : stacks.kernel(addresses);
    if (kit.json()) {
      Columns row(kit.output(), {{"", "pid"}, {"", "bytes"}, {"", "allocations"}, {"", "stack"}});
      row.row({leak.pid, leak.bytes, leak.count, folded("", stack, {})});
      continue;
    }
    kit.output().line(fmt::format("\t{} bytes in {} allocations from stack", leak.bytes, leak.count));
    for (const auto& [address, name] : stack) kit.output().line(fmt::format("\t\t{:#018x}\t{}", address, name));
    if (stack.empty()) kit.output().line("\t\t[stack lost]");
  }
}

std::string call_text(const memory_call& call) {
  if (call.kind == MEMORY_ASKED) return fmt::format("alloc entered, size = {}", call.size);
  if (call.kind == MEMORY_GIVEN) return fmt::format("alloc exited, size = {}, result = {:x}", call.size, call.address);
  return fmt::format("free entered, address = {:x}, size = {}", call.address, call.size);
}

void add_options(Kit& kit, LeakOptions& options) {
  auto& app = kit.options();
  kit.wants_pid();
  kit.wants_interval(5);
  app.add_flag("-t,--trace", options.tell_calls, "a line for each allocation and free instead of summaries");
  const Option each =
      app.add_flag("-a,--show-allocs", options.show_allocations, "each allocation with its address and size, too");
  const Option older =
      app.add_option("-o,--older", options.older_ms, "leaves out allocations younger than this many milliseconds");
  older->capture_default_str();
  app.add_flag("--combined-only", options.combined_only,
               "sums that the program keeps: little is read of it, but nothing is known of one allocation")
      ->excludes(each)
      ->excludes(older);
  app.add_flag("--percpu", options.per_cpu, "of the kernel: its allocations for each CPU, too");
  app.add_flag("--wa-missing-free", options.missing_frees,
               "BCC's: an address that is given again counts as freed. So it does without, too");
  app.add_option("-s,--sample-rate", options.sample_every, "looks at one of so many allocations, by chance")
      ->check(above_zero())
      ->capture_default_str();
  app.add_option("-T,--top", options.top, "stacks that are printed")->check(above_zero())->capture_default_str();
  app.add_option("-z,--min-size", options.least_bytes, "only allocations of at least this many bytes");
  app.add_option("-Z,--max-size", options.most_bytes, "only allocations of at most this many bytes");
  // Only for --help: with_command() has taken it away before these are read.
  app.add_option("-c,--command", options.command, "runs this command, split at spaces, as `-- CMD` does");
  app.add_option("-O,--obj", options.library, "the library with the functions that allocate")->capture_default_str();
}

/// BCC's `-c "CMD ARG..."` as the `-- CMD ARG...` that it means.
Arguments with_command(const Arguments& arguments) {
  Arguments out;
  std::vector<std::string> command;
  for (auto at = arguments.begin(); at != arguments.end(); ++at) {
    if (*at == "--") {
      out.insert(out.end(), at, arguments.end());
      break;
    }
    const bool separate = *at == "-c" || *at == "--command";
    if (separate && at + 1 != arguments.end()) {
      command = base::split(*++at, ' ');
    } else if (at->starts_with("--command=")) {
      command = base::split(at->substr(std::strlen("--command=")), ' ');
    } else {
      out.push_back(*at);
    }
  }
  if (command.empty()) return out;
  out.emplace_back("--");
  out.insert(out.end(), command.begin(), command.end());
  return out;
}

}  // namespace

int memleak(const Arguments& arguments) {
  Kit kit(
      {.name = "memleak",
       .about =
           "Shows allocations that are not freed, by the stacks that made them: of a process (-p, or a command), or of "
           "the kernel.",
       .examples = "  skep memleak -p 181            # of process 181, every 5 seconds\n"
                   "  skep memleak -p 181 -a 10 3    # each allocation too; three times, every 10 seconds\n"
                   "  skep memleak -- ./server       # of a command, without privileges, too\n"
                   "  skep memleak -t -- ./server    # each call as it comes\n"
                   "  skep memleak -o 60000          # of the kernel, older than a minute\n"
                   "  skep memleak --combined-only   # of the kernel, sums by stack alone",
       .user_engine = true,
       .kernel_first = true});
  LeakOptions options;
  Stacks stacks({.offset = true, .module = true});
  add_options(kit, options);
  stacks.add_options(kit.options());
  if (auto status = kit.parse(with_command(arguments))) return *status;
  if (options.least_bytes > options.most_bytes) return kit.complain("-z is larger than -Z: nothing can be shown");
  const bool of_process = kit.has_scope();
  if (options.per_cpu && of_process) return kit.complain("--percpu: only the kernel makes allocations for each CPU");
  for (const char* program : {"percpu_alloc", "percpu_free"}) kit.only_if(options.per_cpu, program);
  kit.set("least_bytes", options.least_bytes);
  kit.set("most_bytes", options.most_bytes);
  kit.set("sample_every", options.sample_every);
  kit.set("combined_only", options.combined_only);
  kit.set("tell_calls", options.tell_calls);
  if (!options.combined_only) kit.set_map_size("combineds", 1);
  if (!options.tell_calls) kit.set_map_size("calls", 4096);
  for (const ProgramSpec& program : kit.spec().programs) {
    const bool is_user = program.section.starts_with("?uprobe") || program.section.starts_with("?uretprobe");
    if (is_user != of_process && !is_follower(program.name))
      kit.only_if(false, program.name.starts_with("kernel_") ? program.name.substr(7) : program.name);
  }
  kit.on_attach([&](Object& object, std::vector<Link>& links) -> Result<void> {
    if (!of_process) return {};
    for (const UserFunction& row : user_functions) {
      auto program = SKEP_TRY(object.program(row.program));
      const AttachTarget target{.kind = row.at_return ? AttachKind::uretprobe : AttachKind::uprobe,
                                .target = fmt::format("{}:{}", options.library, row.function),
                                .pid = kit.pid()};
      auto link = program.attach(target);
      if (!link && row.needed) return tl::unexpected(link.error());
      if (link) links.push_back(*std::move(link));
    }
    return {};
  });
  kit.name_stacks_by(stacks.symbolizer());
  Columns calls(
      kit.output(),
      {{"TIME(s)", "time_s", -12}, {"PID", "pid", -7}, {"TID", "tid", -7}, {"COMM", "comm", -16}, {"CALL", "call"}});
  if (options.tell_calls)
    kit.on_record<memory_call>("calls", [&](const memory_call& call) {
      calls.row({Decimal{seconds_since_start(call.time_ns), 6}, call.pid, call.tid, text(call.comm), call_text(call)});
    });
  else
    kit.on_summary([&] { print_leaks(kit, options, stacks); });
  return kit.run([&] {
    if (options.tell_calls) calls.heading();
    note(of_process ? "watching allocations of a process; Ctrl-C ends"
                    : "watching the kernel's allocations; Ctrl-C ends");
  });
}

}  // namespace skep::tools
