// skep cachestat: how well the page cache serves.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/mapped_file.hpp"
#include "cachestat/cachestat.h"
#include "kit/columns.hpp"
#include "kit/kit.hpp"

namespace skep::tools {

const std::string_view cachestat_summary = "hits and misses of the page cache";

namespace {

/// A row of /proc/meminfo in MiB. 0 where it is not there.
double meminfo_mb(std::string_view text, std::string_view row) {
  const auto at = text.find(row);
  if (at == std::string_view::npos) return 0;
  const auto number = text.find_first_not_of(' ', at + row.size());
  u64 kilobytes = 0;
  if (number != std::string_view::npos) std::from_chars(text.data() + number, text.data() + text.size(), kilobytes);
  return static_cast<double>(kilobytes) / 1024;
}

struct Served {
  u64 hits, misses;
};

/// Uses that only marked a buffer dirty are no uses, pages that came in to be overwritten are no misses.
Served served(const page_counts& counts, bool reads_only) {
  const u64 written = reads_only ? 0 : counts.buffers_dirtied;
  const u64 total = counts.accessed > written ? counts.accessed - written : 0;
  const u64 misses = counts.added > counts.dirtied ? counts.added - counts.dirtied : 0;
  // Pages read ahead count as misses before anybody uses them, so that there can be more of them than uses.
  return misses > total ? Served{0, total} : Served{total - misses, misses};
}

page_counts operator-(const page_counts& a, const page_counts& b) {
  return {a.accessed - b.accessed, a.added - b.added, a.dirtied - b.dirtied, a.buffers_dirtied - b.buffers_dirtied};
}

}  // namespace

int cachestat(const Arguments& arguments) {
  Kit kit({.name = "cachestat",
           .about = "Counts hits and misses of the page cache.",
           .examples = "  skep cachestat        # each second, until Ctrl-C\n"
                       "  skep cachestat -T     # with the time\n"
                       "  skep cachestat 5 10   # every 5 seconds, ten times"});
  bool time = false;
  kit.wants_pid();
  kit.wants_interval(1);
  kit.options().add_flag("-T,--timestamp", time, "a column for the time");
  if (auto status = kit.parse(arguments)) return *status;
  Columns columns(kit.output(), {{"TIME", "time", -8, time},
                                 {"HITS", "hits", 8},
                                 {"MISSES", "misses", 8},
                                 {"DIRTIES", "dirties", 8},
                                 {"HITRATIO", "hit_percent", 8},
                                 {"BUFFERS_MB", "buffers_mb", 12},
                                 {"CACHED_MB", "cached_mb", 10}});
  page_counts before{};
  bool reads_only = false;
  kit.on_summary([&] {
    const auto map = kit.object().map("counts");
    const auto now = map ? map->get<page_counts>(u32{0}) : tl::unexpected(map.error());
    if (!now) return kit.give_up(now.error());
    const page_counts counts = *now - before;
    before = *now;
    const auto [hits, misses] = served(counts, reads_only);
    const double percent =
        hits + misses == 0 ? 0 : 100.0 * static_cast<double>(hits) / static_cast<double>(hits + misses);
    const std::string memory = base::read_text("/proc/meminfo", 64 << 10).value_or("");
    const Cell ratio = kit.json() ? Cell(Decimal{percent, 2}) : Cell(fmt::format("{:.2f}%", percent));
    columns.row({clock_time(), hits, misses, counts.dirtied, ratio, Decimal{meminfo_mb(memory, "Buffers:"), 0},
                 Decimal{meminfo_mb(memory, "\nCached:"), 0}});
  });
  return kit.run([&] {
    reads_only = kit.is_loaded("accessed__tracepoint");
    if (reads_only)
      note("hits are those of reads: without fentry and kprobes, uses of the cache by writes cannot be seen");
    columns.heading();
  });
}

}  // namespace skep::tools
