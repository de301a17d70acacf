// skep numamove: pages that NUMA balancing moves.

#include "numamove/numamove.h"
#include "kit/columns.hpp"
#include "kit/kit.hpp"

namespace skep::tools {

const std::string_view numamove_summary = "pages that NUMA balancing moves, and the time that takes";

int numamove(const Arguments& arguments) {
  Kit kit({.name = "numamove",
           .about = "Counts the pages that NUMA balancing moves to another node, and the time that takes.",
           .examples = "  skep numamove        # each second, until Ctrl-C\n"
                       "  skep numamove 5 10   # every 5 seconds, ten times"});
  kit.wants_pid();
  kit.wants_interval(1);
  if (auto status = kit.parse(arguments)) return *status;
  Columns columns(
      kit.output(),
      {{"TIME", "time", -10}, {"NUMA_migrations", "migrations", 18}, {"NUMA_migrations_ms", "migrations_ms", 18}});
  moves before{};
  kit.on_summary([&] {
    const auto map = kit.object().map("moved");
    const auto now = map ? map->get<moves>(u32{0}) : tl::unexpected(map.error());
    if (!now) return kit.give_up(now.error());
    columns.row({clock_time(), now->count - before.count, (now->total_ns - before.total_ns) / 1'000'000});
    before = *now;
  });
  return kit.run([&] { columns.heading(); });
}

}  // namespace skep::tools
