// skep vfsstat: calls of the virtual file system, each second.
#include "vfsstat/vfsstat.h"

#include <linux/types.h>

#include "kit/columns.hpp"
#include "kit/kit.hpp"

namespace skep::tools {

const std::string_view vfsstat_summary = "reads, writes, fsyncs, opens and creations of files, each second";

int vfsstat(const Arguments& arguments) {
  Kit kit({.name = "vfsstat",
           .about = "Counts the commonest calls of the virtual file system.",
           .examples = "  skep vfsstat         # each second, until Ctrl-C\n"
                       "  skep vfsstat 5 3     # every 5 seconds, three times\n"
                       "  skep vfsstat -- make # by what the command starts",
           .user_engine = true});
  kit.wants_pid();
  kit.wants_interval(1);
  if (auto status = kit.parse(arguments)) return *status;
  Columns columns(kit.output(), {{"TIME", "time", -10},
                                 {"READ/s", "read", 8},
                                 {"WRITE/s", "write", 8},
                                 {"FSYNC/s", "fsync", 8},
                                 {"OPEN/s", "open", 8},
                                 {"CREATE/s", "create", 8}});
  vfs_counts before{};
  kit.on_summary([&] {
    const auto map = kit.object().map("counts");
    const auto now = map ? map->get<vfs_counts>(u32{0}) : tl::unexpected(map.error());
    if (!now) return kit.give_up(now.error());
    std::vector<Cell> cells{kit.json() ? clock_time() : clock_time() + ":"};
    for (std::size_t i = 0; i < VFS_CALLS; ++i)
      cells.emplace_back(
          static_cast<u64>(static_cast<double>(now->calls[i] - before.calls[i]) / kit.interval_s() + 0.5));
    columns.row(cells);
    before = *now;
  });
  return kit.run([&] {
    if (kit.in_kernel() && kit.is_loaded("kernel_read__calls"))
      note(
          "system calls are counted: this kernel has no hooks on its functions, so its own reads and writes are "
          "missing");
    columns.heading();
  });
}

}  // namespace skep::tools
