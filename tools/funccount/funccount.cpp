// skep funccount: how often functions, tracepoints and static probes are hit.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "kit/columns.hpp"
#include "kit/kit.hpp"
#include "kit/probes.hpp"

namespace skep::tools {

const std::string_view funccount_summary = "calls of functions, hits of tracepoints and static probes, counted";

namespace {

struct CountOptions {
  std::string pattern;
  double interval_s = 0;
  bool clock = false, regular_expression = false;
  s32 cpu = -1;
};

/// What was counted since the last time, of all CPUs; the map begins again from 0.
Result<std::vector<u64>> take_counts(Object& object, std::size_t probes) {
  const Map map = SKEP_TRY(object.map("counts"));
  std::vector<u64> sums;
  for (u32 index = 0; index < probes; ++index) {
    const auto key = std::as_bytes(std::span(&index, 1));
    const auto values = SKEP_TRY(map.lookup(key));
    u64 sum = 0;
    for (std::size_t at = 0; at + sizeof(u64) <= values.size(); at += sizeof(u64)) {
      u64 one = 0;
      std::memcpy(&one, values.data() + at, sizeof one);
      sum += one;
    }
    sums.push_back(sum);
    SKEP_TRY(map.update(key, std::vector<std::byte>(values.size())));
  }
  return sums;
}

void print_counts(Kit& kit, const CountOptions& options, const std::vector<Probe>& probes) {
  const auto counts = take_counts(kit.object(), probes.size());
  if (!counts) return note(counts.error().message);
  std::vector<std::pair<u64, std::string>> rows;
  for (std::size_t i = 0; i < probes.size(); ++i)
    if ((*counts)[i] != 0) rows.emplace_back((*counts)[i], probes[i].name);
  std::sort(rows.begin(), rows.end());
  if (options.clock && !kit.json()) kit.output().line(clock_time());
  if (!kit.json()) kit.output().line("");
  Columns columns(kit.output(), {{"FUNC", "func", -36}, {"COUNT", "count", 8}});
  columns.heading();
  for (const auto& [count, name] : rows) columns.row({name, count});
}

}  // namespace

int funccount(const Arguments& arguments) {
  Kit kit({.name = "funccount",
           .about = "Counts calls of functions, hits of tracepoints and of static probes.",
           .examples = "  skep funccount 'tcp_send*'             # functions of the kernel\n"
                       "  skep funccount -i 1 c:malloc           # of the C library, every second\n"
                       "  skep funccount -p 181 'c:str*'         # in process 181\n"
                       "  skep funccount 't:sched:*'             # tracepoints\n"
                       "  skep funccount -r '^vfs_(read|write)$' # a regular expression\n"
                       "  skep funccount 'c:str*' -- ls          # of a command, without privileges",
           .user_engine = true,
           .kernel_first = true});
  CountOptions options;
  kit.wants_pid();
  kit.wants_duration("-d,--duration");
  kit.options()
      .add_option("PATTERN", options.pattern, "FUNCTION, LIBRARY:FUNCTION, t:CATEGORY:EVENT or u:FILE:PROBE")
      ->required();
  kit.options()
      .add_option("-i,--interval", options.interval_s, "seconds between outputs; without it one at the end")
      ->check(duration());
  kit.options().add_flag("-T,--timestamp", options.clock, "the time of day of each output");
  kit.options().add_flag("-r,--regexp", options.regular_expression, "the pattern is a regular expression");
  kit.options().add_option("-c,--cpu", options.cpu, "only on this CPU");
  if (auto status = kit.parse(arguments)) return *status;
  auto probes = find_probes({.pattern = options.pattern,
                             .regular_expression = options.regular_expression,
                             .pid = kit.pid(),
                             .in_kernel = kit.in_kernel()});
  if (!probes) return kit.complain(probes.error());
  if (const auto status = choose_engine(kit, *probes)) return *status;
  const bool is_tracepoint = probes->front().kind == ProbeKind::tracepoint;
  kit.only_if(!is_tracepoint, "count_function");
  kit.only_if(is_tracepoint, "count_tracepoint");
  kit.set("wanted_cpu", options.cpu);
  for (MapSpec& map : kit.spec().maps)
    if (map.name == "counts") map.max_entries = static_cast<u32>(probes->size());
  kit.on_attach([&](Object& object, std::vector<Link>& links) -> Result<void> {
    auto program = SKEP_TRY(object.program(is_tracepoint ? "count_tracepoint" : "count_function"));
    for (std::size_t i = 0; i < probes->size(); ++i) {
      AttachTarget target = (*probes)[i].target;
      target.cookie = i;
      kit.attach_one(program, target, links);
    }
    return {};
  });
  kit.print_every(options.interval_s);
  kit.on_summary([&] { print_counts(kit, options, *probes); });
  return kit.run([&] {
    note(fmt::format("counting {} of {} places for \"{}\"; Ctrl-C ends", kit.attached(), probes->size(),
                     options.pattern));
  });
}

}  // namespace skep::tools
