// skep funcslower: calls of functions that take long.
#include "funcslower/funcslower.h"

#include <fmt/format.h>

#include "kit/columns.hpp"
#include "kit/kit.hpp"
#include "kit/probes.hpp"
#include "kit/stacks.hpp"

namespace skep::tools {

const std::string_view funcslower_summary = "calls of functions that take long, with arguments and stacks";

namespace {

struct SlowOptions {
  std::vector<std::string> functions;
  double least_ms = 0, least_us = 0;
  u32 arguments = 0;
  bool clock = false, stamps = false, user_stack = false, kernel_stack = false, folded = false;
  u64 least_ns() const {
    if (least_us > 0) return static_cast<u64>(least_us * 1e3);
    return static_cast<u64>((least_ms > 0 ? least_ms : 1) * 1e6);
  }
  bool in_microseconds() const { return least_us > 0; }
};

void add_options(Kit& kit, SlowOptions& options) {
  auto& app = kit.options();
  kit.wants_pid();
  app.add_option("FUNCTION", options.functions, "FUNCTION of the kernel or LIBRARY:FUNCTION (several may be given)")
      ->required();
  const Option milliseconds =
      app.add_option("-m,--min-ms", options.least_ms, "milliseconds from which calls are shown (1)")
          ->check(above_zero());
  app.add_option("-u,--min-us", options.least_us, "the same in microseconds")
      ->check(above_zero())
      ->excludes(milliseconds);
  app.add_option("-a,--arguments", options.arguments, "arguments that are shown, up to 6")->check(range(0, 6));
  app.add_flag("-T,--time", options.clock, "the time of day");
  app.add_flag("-t,--timestamp", options.stamps, "seconds since the first");
  app.add_flag("-U,--user-stack", options.user_stack, "the stack in user space");
  app.add_flag("-K,--kernel-stack", options.kernel_stack, "the stack in the kernel");
  app.add_flag("-f,--folded", options.folded, "stacks on one line, for flame graphs");
}

std::span<const u64> frames_of(const unsigned long long* stack, s32 bytes, std::vector<u64>& room) {
  room.assign(stack, stack + (bytes > 0 ? static_cast<std::size_t>(bytes) / 8 : 0));
  return room;
}

}  // namespace

int funcslower(const Arguments& arguments) {
  Kit kit({.name = "funcslower",
           .about = "Traces calls of functions that take longer than a threshold.",
           .examples = "  skep funcslower vfs_write              # calls of 1 ms and more\n"
                       "  skep funcslower -m 10 vfs_write        # of 10 ms and more\n"
                       "  skep funcslower -u 5 -a 2 -p 181 c:open   # of 5 us, with two arguments\n"
                       "  skep funcslower -UK -m 5 __kmalloc     # with stacks\n"
                       "  skep funcslower -u 50 c:malloc -- ls   # of a command, without privileges",
           .user_engine = true,
           .kernel_first = true});
  SlowOptions options;
  Stacks stacks;
  add_options(kit, options);
  stacks.add_options(kit.options());
  if (auto status = kit.parse(arguments)) return *status;
  std::vector<Probe> probes;
  for (const std::string& pattern : options.functions) {
    auto found = find_probes({.pattern = pattern, .pid = kit.pid(), .only_functions = true});
    if (!found) return kit.complain(found.error());
    probes.insert(probes.end(), found->begin(), found->end());
  }
  if (const auto status = choose_engine(kit, probes)) return *status;
  kit.set("least_ns", options.least_ns());
  kit.set("user_stacks", options.user_stack);
  kit.set("kernel_stacks", options.kernel_stack);
  kit.on_attach([&](Object& object, std::vector<Link>& links) -> Result<void> {
    auto enter = SKEP_TRY(object.program("enter_function"));
    auto exit = SKEP_TRY(object.program("exit_function"));
    for (std::size_t i = 0; i < probes.size(); ++i) {
      AttachTarget target = probes[i].target;
      target.cookie = i;
      kit.attach_pair(enter, exit, target, links);
    }
    return {};
  });
  const bool micro = options.in_microseconds();
  Columns columns(kit.output(), {{"TIME", "time", -10, options.clock},
                                 {"TIME", "time_s", -10, options.stamps},
                                 {"COMM", "comm", -14, true, true},
                                 {"PID", "pid", -6},
                                 {micro ? "LAT(us)" : "LAT(ms)", "lat", 7},
                                 {"RVAL", "rval", 16},
                                 {options.arguments > 0 ? "FUNC ARGS" : "FUNC", "func"}});
  if (options.folded) stacks.fold();
  if (options.user_stack) kit.name_stacks_by(stacks.symbolizer());
  kit.on_record<slow_call>("events", [&](const slow_call& call) {
    const std::string name = call.function < probes.size() ? probes[call.function].name : "?";
    std::string shown = name;
    for (u32 i = 0; i < options.arguments; ++i) shown += fmt::format(" {:#x}", call.arguments[i]);
    std::vector<u64> room;
    StackLines user, kernel;
    if (options.user_stack) user = stacks.user(call.pid, frames_of(call.user_stack, call.user_stack_bytes, room));
    if (options.kernel_stack) kernel = stacks.kernel(frames_of(call.kernel_stack, call.kernel_stack_bytes, room));
    if (options.folded) {
      kit.output().line(folded(printable(text(call.comm)), user, kernel) + " 1");
      return;
    }
    columns.row({clock_time(), Decimal{seconds_since_start(call.time_ns), 6}, text(call.comm), call.pid,
                 Decimal{static_cast<double>(call.spent_ns) / (micro ? 1e3 : 1e6), 2}, fmt::format("{:x}", call.result),
                 shown});
    if (kit.json()) return;
    for (const auto* part : {&kernel, &user})
      for (const StackLine& frame : *part) kit.output().line("    " + frame.name);
  });
  return kit.run([&] {
    note(fmt::format("tracing calls slower than {} {}; Ctrl-C ends",
                     micro ? options.least_us : static_cast<double>(options.least_ns()) / 1e6, micro ? "us" : "ms"));
    if (!options.folded) columns.heading();
  });
}

}  // namespace skep::tools
