// skep filetop: which files are read and written most.
#include "filetop/filetop.h"

#include <fmt/format.h>

#include <algorithm>

#include "kit/columns.hpp"
#include "kit/kit.hpp"
#include "kit/screen.hpp"

namespace skep::tools {

const std::string_view filetop_summary = "files by reads and writes, with their processes";

namespace {

u64 weight(const file_totals& totals, const std::string& sort) {
  if (sort == "reads") return totals.reads;
  if (sort == "writes") return totals.writes;
  if (sort == "rbytes") return totals.read_bytes;
  if (sort == "wbytes") return totals.written_bytes;
  return totals.read_bytes + totals.written_bytes + totals.reads + totals.writes;
}

}  // namespace

int filetop(const Arguments& arguments) {
  Kit kit({.name = "filetop",
           .about = "Shows the files that are read and written most, by thread.",
           .examples = "  skep filetop                 # every second, until Ctrl-C\n"
                       "  skep filetop -C 5 3          # every five seconds, three times, one below the other\n"
                       "  skep filetop -a -s reads     # sockets and others too, by number of reads\n"
                       "  skep filetop -- make",
           .user_engine = true});
  bool all_files = false;
  Screen screen;
  std::string sort = "all";
  kit.wants_pid();
  kit.wants_interval(1);
  kit.options().add_flag("-a,--all-files", all_files, "sockets, pipes and others, too");
  screen.wants_keep(kit);
  screen.wants_rows(kit);
  kit.options()
      .add_option("-s,--sort", sort, "by all, reads, writes, rbytes or wbytes")
      ->check(one_of({"all", "reads", "writes", "rbytes", "wbytes"}))
      ->capture_default_str();
  if (auto status = kit.parse(arguments)) return *status;
  kit.set("all_files", all_files);
  kit.on_summary([&] {
    auto rows = kit.entries<file_key, file_totals>("files", true);
    if (!rows) return note(rows.error().message);
    screen.begin(kit.output());
    std::sort(rows->begin(), rows->end(),
              [&](const auto& a, const auto& b) { return weight(a.second, sort) > weight(b.second, sort); });
    if (rows->size() > screen.rows) rows->resize(screen.rows);
    Columns columns(kit.output(), {{"TID", "tid", -7},
                                   {"COMM", "comm", -16},
                                   {"READS", "reads", -6},
                                   {"WRITES", "writes", -6},
                                   {"R_Kb", "r_kb", -7},
                                   {"W_Kb", "w_kb", -7},
                                   {"T", "type", 1},
                                   {"FILE", "file"}});
    columns.heading();
    for (const auto& [key, totals] : *rows) {
      std::string name(text(key.name));
      if (name.empty()) name = fmt::format("fd {}", key.descriptor);
      columns.row({key.tid, text(totals.comm), totals.reads, totals.writes, totals.read_bytes / 1024,
                   totals.written_bytes / 1024, std::string(1, static_cast<char>(key.type)), name});
    }
  });
  return kit.run();
}

}  // namespace skep::tools
