// skep slabratetop: which of the kernel's slab caches are allocated from most.
#include <fmt/format.h>

#include <algorithm>

#include "kernel/kernel_types.hpp"
#include "kit/columns.hpp"
#include "kit/kit.hpp"
#include "kit/screen.hpp"
#include "slabratetop/slabratetop.h"

namespace skep::tools {

const std::string_view slabratetop_summary = "the kernel's slab caches that are allocated from most";

namespace {

/// Whether the tracepoint tells of the cache, which the program takes for its third argument.
bool tracepoint_has_cache() {
  const auto arguments = kernel::KernelTypes{{}}.tracepoint_structures("kmem_cache_alloc");
  return arguments.size() > 2 && arguments[2] == "kmem_cache";
}

}  // namespace

int slabratetop(const Arguments& arguments) {
  Kit kit({.name = "slabratetop",
           .about = "Shows again and again which of the kernel's slab caches are allocated from most.",
           .examples = "  skep slabratetop          # each second, until Ctrl-C\n"
                       "  skep slabratetop -C 5     # every 5 seconds, the screen is not cleared\n"
                       "  skep slabratetop 5 10     # every 5 seconds, ten times\n"
                       "  skep slabratetop -- make  # by what the command starts"});
  Screen screen;
  kit.wants_pid();
  kit.wants_interval(1);
  screen.wants_keep(kit);
  screen.wants_rows(kit);
  if (auto status = kit.parse(arguments)) return *status;
  const bool told = tracepoint_has_cache();
  kit.only_if(told, "told");
  for (const char* const function : {"asked", "asked_near"}) kit.only_if(!told, function);
  Columns columns(kit.output(), {{"CACHE", "cache", -32}, {"ALLOCS", "allocs", 6}, {"BYTES", "bytes", 10}});
  kit.on_summary([&] {
    auto rows = kit.entries<cache_key, cache_use>("caches", true);
    if (!rows) return kit.give_up(rows.error());
    std::sort(rows->begin(), rows->end(), [](auto& a, auto& b) { return a.second.bytes > b.second.bytes; });
    screen.begin(kit.output());
    columns.heading();
    for (std::size_t i = 0; i < rows->size() && i < screen.rows; ++i)
      columns.row({text((*rows)[i].first.name), (*rows)[i].second.count, (*rows)[i].second.bytes});
  });
  return kit.run([&] {
    if (!kit.json())
      kit.output().line(fmt::format("Tracing... Output every {} secs. Hit Ctrl-C to end", kit.interval_s()));
  });
}

}  // namespace skep::tools
