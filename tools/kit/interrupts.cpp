// See interrupts.hpp.
#include "kit/interrupts.hpp"

#include <fmt/format.h>

#include "kit/distribution.hpp"
#include "kit/interrupts.h"

namespace skep::tools {
namespace {

using Entry = std::pair<interrupt_key, interrupt_time>;

u64 weight(const interrupt_time& time, bool count) { return count ? time.count : time.total_ns; }

void print_totals(Kit& kit, const InterruptFacts& facts, const std::vector<Entry>& entries, std::string_view unit,
                  u64 divisor) {
  const std::string title = fmt::format("TOTAL_{}", unit);
  Columns columns(kit.output(), {{facts.title, facts.key, -facts.width}, {title, title, 11}});
  columns.heading();
  for (const auto& [key, time] : entries)
    columns.row({text(key.name), unit == "count" ? time.count : time.total_ns / divisor});
}

}  // namespace

int interrupts_tool(const InterruptFacts& facts, const Arguments& arguments) {
  Kit kit(facts.tool);
  bool time = false, nanoseconds = false, count = false, histograms = false;
  int cpu = -1;
  kit.wants_interval(0);
  kit.options().add_flag("-T,--timestamp", time, "the time above each output");
  kit.options().add_flag("-N,--nanoseconds", nanoseconds, "nanoseconds instead of microseconds");
  const Option counts = kit.options().add_flag(std::string(facts.count_flag), count, "how many instead of how long");
  kit.options().add_flag("-d,--dist", histograms, "a histogram for each")->excludes(counts);
  kit.options().add_option("-c,--cpu", cpu, "this CPU only")->check(not_negative());
  if (auto status = kit.parse(arguments)) return *status;
  kit.set("only_count", count);
  kit.set("nanoseconds", nanoseconds);
  kit.set("wanted_cpu", s32{cpu});
  if (count) kit.only_if(false, "left");
  const std::string_view unit = count ? "count" : nanoseconds ? "nsecs" : "usecs";
  kit.on_summary([&] {
    auto entries = kit.entries<interrupt_key, interrupt_time>("interrupts", true);
    if (!entries) return kit.give_up(entries.error());
    std::sort(entries->begin(), entries->end(),
              [&](const Entry& a, const Entry& b) { return weight(a.second, count) < weight(b.second, count); });
    begin_summary(kit, time);
    if (!histograms) return print_totals(kit, facts, *entries, unit, nanoseconds ? 1 : 1000);
    for (const auto& [key, one] : *entries)
      print_log2(kit.output(), slots_of(one.slots), unit, facts.key, text(key.name));
  });
  return kit.run([&] {
    if (!kit.json())
      kit.output().line(fmt::format("Tracing {} event{}... Hit Ctrl-C to end.", facts.kind, count ? "s" : " time"));
  });
}

}  // namespace skep::tools
