// skep llcstat: references to the last-level cache and misses, by process.
#include "llcstat/llcstat.h"

#include <fmt/format.h>
#include <linux/types.h>

#include <algorithm>

#include "kit/columns.hpp"
#include "kit/kit.hpp"

namespace skep::tools {

const std::string_view llcstat_summary = "last-level cache references and misses, by process";

namespace {

double hit_percent(u64 references, u64 misses) {
  const u64 hits = references > misses ? references - misses : 0;
  return references == 0 ? 0 : 100.0 * static_cast<double>(hits) / static_cast<double>(references);
}

}  // namespace

int llcstat(const Arguments& arguments) {
  Kit kit({.name = "llcstat",
           .about =
               "Samples last-level cache references and misses of the processes. Needs a CPU that counts them, which "
               "virtual machines often do not have.",
           .examples = "  skep llcstat          # for 10 seconds\n"
                       "  skep llcstat 20       # for 20 seconds\n"
                       "  skep llcstat -c 1000  # one sample in 1000\n"
                       "  skep llcstat -t       # by thread"});
  u64 period = 100;
  bool threads = false;
  kit.wants_pid();
  kit.wants_duration("DURATION");
  kit.options()
      .add_option("-c,--sample_period", period, "one sample in so many events")
      ->capture_default_str()
      ->check(above_zero());
  kit.options().add_flag("-t,--tid", threads, "by thread");
  if (auto status = kit.parse(arguments)) return *status;
  if (kit.duration_s() == 0) kit.end_after(10);
  kit.set("each_thread", threads);
  kit.on_attach([&](Object& object, std::vector<Link>& links) -> Result<void> {
    for (const auto& [program, event] : {std::pair{"on_reference", "cache-references"}, {"on_miss", "cache-misses"}}) {
      auto sampled = SKEP_TRY(object.program(program));
      links.push_back(
          SKEP_TRY_AT(event, sampled.attach({AttachKind::perf_event, fmt::format("{}:{}", event, period)})));
    }
    return {};
  });
  kit.on_summary([&] {
    auto rows = kit.entries<cache_user, cache_samples>("users");
    if (!rows) return kit.give_up(rows.error());
    Columns columns(kit.output(), {{"PID", "pid", -8},
                                   {"TID", "tid", -8, threads},
                                   {"NAME", "comm", -16},
                                   {"CPU", "cpu", -4},
                                   {"REFERENCE", "references", 12},
                                   {"MISS", "misses", 12},
                                   {"HIT%", "hit_percent", 6}});
    columns.heading();
    u64 references = 0, misses = 0;
    for (const auto& [user, samples] : *rows) {
      const u64 used = samples.references * period, missed = samples.misses * period;
      references += used, misses += missed;
      const double percent = hit_percent(used, missed);
      const Cell hits = kit.json() ? Cell(Decimal{percent, 2}) : Cell(fmt::format("{:.2f}%", percent));
      columns.row({user.pid, user.tid, text(user.comm), user.cpu, used, missed, hits});
    }
    if (!kit.json())
      kit.output().line(fmt::format("Total References: {} Total Misses: {} Hit Rate: {:.2f}%", references, misses,
                                    hit_percent(references, misses)));
  });
  return kit.run([&] {
    if (!kit.json()) kit.output().line(fmt::format("Running for {} seconds or hit Ctrl-C to end.", kit.duration_s()));
  });
}

}  // namespace skep::tools
