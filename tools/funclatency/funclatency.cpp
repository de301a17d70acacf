// skep funclatency: how long functions take, as histograms.
#include "funclatency/funclatency.h"

#include <fmt/format.h>

#include <cstring>

#include "kit/columns.hpp"
#include "kit/histogram.hpp"
#include "kit/kit.hpp"
#include "kit/probes.hpp"

namespace skep::tools {

const std::string_view funclatency_summary = "time that functions take, as histograms";

namespace {

struct LatencyOptions {
  std::string pattern;
  double interval_s = 0;
  u32 levels = 1;
  bool clock = false, microseconds = false, milliseconds = false, by_function = false, regular_expression = false;
  u64 unit_ns() const { return milliseconds ? 1000000 : microseconds ? 1000 : 1; }
  const char* unit() const { return milliseconds ? "msecs" : microseconds ? "usecs" : "nsecs"; }
};

void print_latencies(Kit& kit, const LatencyOptions& options, const std::vector<Probe>& probes) {
  const auto rows = kit.entries<u32, latency_totals>("latencies");
  if (!rows) return note(rows.error().message);
  if (options.clock && !kit.json()) kit.output().line(clock_time());
  const Map map = *kit.object().map("latencies");
  u64 total = 0, count = 0;
  for (const auto& [index, totals] : *rows) {
    if (totals.count == 0) continue;
    print_log2(kit.output(), slots_of(totals.slots), options.unit(), options.by_function ? "Function" : "",
               options.by_function ? probes[index].name : "");
    total += totals.total, count += totals.count;
    const latency_totals none{};
    [[maybe_unused]] const auto reset =
        map.update(std::as_bytes(std::span(&index, 1)), std::as_bytes(std::span(&none, 1)));
  }
  if (count == 0 || kit.json()) return;
  total /= options.unit_ns();
  kit.output().line("");
  kit.output().line(
      fmt::format("avg = {} {}, total: {} {}, count: {}", total / count, options.unit(), total, options.unit(), count));
  kit.output().line("");
}

void add_options(Kit& kit, LatencyOptions& options) {
  auto& app = kit.options();
  kit.wants_pid();
  kit.wants_duration("-d,--duration");
  app.add_option("PATTERN", options.pattern, "FUNCTION or LIBRARY:FUNCTION")->required();
  app.add_option("-i,--interval", options.interval_s, "seconds between outputs; without it one at the end")
      ->check(above_zero());
  app.add_flag("-T,--timestamp", options.clock, "the time of day of each output");
  const Option micro = app.add_flag("-u,--microseconds", options.microseconds, "in microseconds, not nanoseconds");
  app.add_flag("-m,--milliseconds", options.milliseconds, "in milliseconds")->excludes(micro);
  app.add_flag("-F,--function", options.by_function, "a histogram for each function");
  app.add_option("-l,--level", options.levels,
                 "of a function that calls itself, times so many calls from the outermost on")
      ->check(range(1, MOST_LEVELS))
      ->capture_default_str();
  app.add_flag("-r,--regexp", options.regular_expression, "the pattern is a regular expression");
}

}  // namespace

int funclatency(const Arguments& arguments) {
  Kit kit({.name = "funclatency",
           .about = "Times functions of the kernel, of programs and libraries, and shows histograms.",
           .examples = "  skep funclatency do_sys_openat2        # of the kernel\n"
                       "  skep funclatency -u c:read             # of the C library, in microseconds\n"
                       "  skep funclatency -F 'c:mem*'           # one histogram for each\n"
                       "  skep funclatency -i 2 -d 10 -p 181 c:malloc\n"
                       "  skep funclatency c:malloc -- ls        # of a command, without privileges",
           .user_engine = true,
           .kernel_first = true});
  LatencyOptions options;
  add_options(kit, options);
  if (auto status = kit.parse(arguments)) return *status;
  auto probes = find_probes({.pattern = options.pattern,
                             .regular_expression = options.regular_expression,
                             .pid = kit.pid(),
                             .only_functions = true});
  if (!probes) return kit.complain(probes.error());
  if (const auto status = choose_engine(kit, *probes)) return *status;
  kit.set("unit_ns", options.unit_ns());
  kit.set("levels", options.levels);
  kit.set("together", !options.by_function);
  for (MapSpec& map : kit.spec().maps)
    if (map.name == "latencies" && options.by_function) map.max_entries = static_cast<u32>(probes->size());
  kit.on_attach([&](Object& object, std::vector<Link>& links) -> Result<void> {
    auto enter = SKEP_TRY(object.program("enter_function"));
    auto exit = SKEP_TRY(object.program("exit_function"));
    for (std::size_t i = 0; i < probes->size(); ++i) {
      AttachTarget target = (*probes)[i].target;
      target.cookie = i;
      kit.attach_pair(enter, exit, target, links);
    }
    return {};
  });
  kit.print_every(options.interval_s);
  kit.on_summary([&] { print_latencies(kit, options, *probes); });
  return kit.run(
      [&] { note(fmt::format("timing {} functions for \"{}\"; Ctrl-C ends", kit.attached() / 2, options.pattern)); });
}

}  // namespace skep::tools
