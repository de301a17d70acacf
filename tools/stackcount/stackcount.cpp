// skep stackcount: by which ways a place is reached, counted.
#include "stackcount/stackcount.h"

#include <fmt/format.h>

#include <algorithm>

#include "kit/columns.hpp"
#include "kit/kit.hpp"
#include "kit/probes.hpp"
#include "kit/stacks.hpp"

namespace skep::tools {

const std::string_view stackcount_summary = "stacks that lead to a function, tracepoint or static probe, counted";

namespace {

struct StackOptions {
  std::string pattern, flame;
  double interval_s = 0;
  bool clock = false, regular_expression = false, by_process = false, only_kernel = false, only_user = false,
       addresses = false, delimited = false, folded = false;
  s32 cpu = -1;
};

void add_options(Kit& kit, StackOptions& options) {
  auto& app = kit.options();
  kit.wants_pid();
  kit.wants_duration("-D,--duration");
  app.add_option("PATTERN", options.pattern, "FUNCTION, LIBRARY:FUNCTION, t:CATEGORY:EVENT or u:FILE:PROBE")
      ->required();
  app.add_option("-c,--cpu", options.cpu, "only on this CPU");
  app.add_option("-i,--interval", options.interval_s, "seconds between outputs; without it one at the end")
      ->check(duration());
  app.add_flag("-T,--timestamp", options.clock, "the time of day of each output");
  app.add_flag("-r,--regexp", options.regular_expression, "the pattern is a regular expression");
  app.add_flag("-P,--perpid", options.by_process, "apart for each process");
  const Option kernel = app.add_flag("-K,--kernel-stacks-only", options.only_kernel, "kernel stacks only");
  app.add_flag("-U,--user-stacks-only", options.only_user, "user stacks only")->excludes(kernel);
  app.add_flag("-v,--verbose", options.addresses, "addresses, too");
  app.add_flag("-d,--delimited", options.delimited, "a line between kernel and user stacks");
  app.add_flag("-f,--folded", options.folded, "stacks on one line, for flame graphs");
  app.add_option("--flame", options.flame, "draws a flame graph into this file (SVG) instead of printing");
}

void print_stack(Kit& kit, const StackOptions& options, const StackLines& stack) {
  for (const auto& [address, name] : stack)
    kit.output().line(options.addresses ? fmt::format("  {:<16x} {}", address, name) : "  " + name);
}

void print_json(Kit& kit, const stack_count_key& key, u64 count, const StackLines& user, const StackLines& kernel) {
  Columns row(kit.output(), {{"", "pid"}, {"", "comm"}, {"", "count"}, {"", "folded"}});
  row.row({key.pid, text(key.comm), count, folded(text(key.comm), user, kernel)});
}

void print_counts(Kit& kit, const StackOptions& options, Stacks& stacks) {
  auto rows = kit.entries<stack_count_key, u64>("counts", true);
  if (!rows) return note(rows.error().message);
  std::sort(rows->begin(), rows->end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  const Map map = *kit.object().map("stacks");
  if (options.clock && !kit.json() && options.flame.empty()) kit.output().line(clock_time());
  symbols::FoldedStacks drawn;
  for (const auto& [key, count] : *rows) {
    const StackLines user = stacks.user(key.pid, stack_of(map, key.user_stack)),
                     kernel = stacks.kernel(stack_of(map, key.kernel_stack));
    if (!options.flame.empty()) {
      drawn.add(folded(key.pid != 0 ? text(key.comm) : "", user, kernel), count);
    } else if (kit.json()) {
      print_json(kit, key, count, user, kernel);
    } else if (options.folded) {
      kit.output().line(fmt::format("{} {}", folded(printable(text(key.comm)), user, kernel), count));
    } else {
      print_stack(kit, options, kernel);
      if (options.delimited && !kernel.empty() && !user.empty()) kit.output().line("    --");
      print_stack(kit, options, user);
      if (user.empty() && kernel.empty()) kit.output().line("  [no stack]");
      if (key.pid != 0) kit.output().line(fmt::format("    {} [{}]", printable(text(key.comm)), key.pid));
      kit.output().line(fmt::format("    {}", count));
      kit.output().line("");
    }
  }
  if (options.flame.empty()) return;
  const auto written = draw(drawn, options.flame, "stacks that lead to " + options.pattern, "calls");
  note(written ? fmt::format("{} stacks are drawn in {}", rows->size(), options.flame) : written.error().message);
}

}  // namespace

int stackcount(const Arguments& arguments) {
  Kit kit({.name = "stackcount",
           .about = "Counts the stacks that lead to a place.",
           .examples = "  skep stackcount submit_bio             # of the kernel\n"
                       "  skep stackcount -P t:sched:sched_switch   # a tracepoint, by process\n"
                       "  skep stackcount -p 181 c:malloc        # of the C library, in process 181\n"
                       "  skep stackcount -f c:malloc > stacks   # for a flame graph\n"
                       "  skep stackcount c:malloc -- ls         # of a command, without privileges",
           .user_engine = true,
           .kernel_first = true});
  StackOptions options;
  Stacks stacks;
  add_options(kit, options);
  stacks.add_offset_option(kit.options());
  stacks.add_options(kit.options());
  if (auto status = kit.parse(arguments)) return *status;
  auto probes = find_probes({.pattern = options.pattern,
                             .regular_expression = options.regular_expression,
                             .pid = kit.pid(),
                             .in_kernel = kit.in_kernel()});
  if (!probes) return kit.complain(probes.error());
  if (const auto status = choose_engine(kit, *probes)) return *status;
  const ProbeKind kind = probes->front().kind;
  const bool is_user = kind == ProbeKind::user_function || kind == ProbeKind::usdt;
  const bool is_tracepoint = kind == ProbeKind::tracepoint;
  const bool user_stacks = options.only_user || (!options.only_kernel && (is_user || options.by_process));
  kit.set("user_stacks", user_stacks);
  kit.set("kernel_stacks", options.only_kernel || (!options.only_user && !is_user));
  kit.set("by_process", options.by_process);
  kit.set("wanted_cpu", options.cpu);
  kit.only_if(!is_tracepoint, "count_function");
  kit.only_if(is_tracepoint, "count_tracepoint");
  kit.on_attach([&](Object& object, std::vector<Link>& links) -> Result<void> {
    auto program = SKEP_TRY(object.program(is_tracepoint ? "count_tracepoint" : "count_function"));
    for (const Probe& probe : *probes) kit.attach_one(program, probe.target, links);
    return {};
  });
  kit.print_every(options.interval_s);
  if (options.folded || !options.flame.empty()) stacks.fold();
  if (!options.flame.empty()) stacks.mark_kernel();
  if (user_stacks) kit.name_stacks_by(stacks.symbolizer());
  kit.on_summary([&] { print_counts(kit, options, stacks); });
  return kit.run([&] {
    note(fmt::format("counting stacks of {} places for \"{}\"; Ctrl-C ends", kit.attached(), options.pattern));
  });
}

}  // namespace skep::tools
