// skep readahead: how well the kernel guesses what will be read next.
#include <fmt/format.h>

#include "kit/histogram.hpp"
#include "kit/kit.hpp"

namespace skep::tools {

const std::string_view readahead_summary = "pages read ahead: unused ones, and how soon the others were used";

int readahead(const Arguments& arguments) {
  Kit kit({.name = "readahead",
           .about = "Sums up what became of the pages that the kernel read ahead: how many were not used yet, and how "
                    "old the others were when they were.",
           .examples = "  skep readahead         # until Ctrl-C\n"
                       "  skep readahead -d 30   # for 30 seconds"});
  kit.wants_pid();
  kit.wants_duration("-d,--duration");
  if (auto status = kit.parse(arguments)) return *status;
  kit.on_summary([&] {
    const auto unused_map = kit.object().map("unused");
    const auto ages_map = kit.object().map("ages");
    const auto unused = unused_map ? unused_map->get<s64>(u32{0}) : tl::unexpected(unused_map.error());
    const auto ages = ages_map ? ages_map->get<Log2Histogram>(u32{0}) : tl::unexpected(ages_map.error());
    if (!unused || !ages) return kit.give_up(unused ? ages.error() : unused.error());
    if (kit.json()) {
      kit.output().line(fmt::format(R"({{"unused_pages":{}}})", *unused));
    } else {
      kit.output().line("");
      kit.output().line(fmt::format("Read-ahead unused pages: {}", *unused));
      kit.output().line("Histogram of read-ahead used page age (ms):");
      kit.output().line("");
    }
    print_log2(kit.output(), ages->slots, "age (ms)");
  });
  return kit.run([&] {
    if (!kit.json()) kit.output().line("Tracing... Hit Ctrl-C to end.");
  });
}

}  // namespace skep::tools
