// skep wakeuptime: who ends other tasks' sleep, and how long it was.
#include "wakeuptime/wakeuptime.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/json_writer.hpp"
#include "kit/columns.hpp"
#include "kit/stack_counts.hpp"

namespace skep::tools {

const std::string_view wakeuptime_summary = "time that tasks slept, by the stack of who woke them";

namespace {

/// The waker's stack in the kernel, the outermost first.
std::vector<u64> outermost_first(StackCounts& stacks, s32 id) {
  std::vector<u64> addresses = stacks.addresses(id);
  std::reverse(addresses.begin(), addresses.end());
  return addresses;
}

void print_one(Kit& kit, StackCounts& stacks, const wakeup_key& key, u64 time, bool verbose) {
  const auto addresses = outermost_first(stacks, key.stack);
  const std::string waker = printable(text(key.waker)), target = printable(text(key.target));
  trace::Output& output = kit.output();
  if (stacks.is_folded()) {
    std::string line = waker;
    for (const u64 address : addresses) line += ";" + stacks.kernel_name(address);
    return output.line(fmt::format("{};{} {}", line, target, time));
  }
  output.line(fmt::format("    {:<16} {}", "target:", target));
  for (const u64 address : addresses)
    output.line(verbose ? fmt::format("    {:<16x} {}", address, stacks.kernel_name(address))
                        : fmt::format("    {:<16} {}", "", stacks.kernel_name(address)));
  output.line(fmt::format("    {:<16} {}", "waker:", waker));
  output.line(fmt::format("        {}", time));
  output.line("");
}

void print_json(Kit& kit, StackCounts& stacks, const wakeup_key& key, u64 time) {
  base::JsonWriter json(false);
  json.begin_object();
  json.member("target", text(key.target));
  json.member("waker", text(key.waker));
  json.key("kernel");
  json.begin_array();
  for (const u64 address : stacks.addresses(key.stack)) json.string(stacks.kernel_name(address));
  json.end_array();
  json.member("us", time);
  json.end_object();
  kit.output().line(json.text());
}

}  // namespace

int wakeuptime(const Arguments& arguments) {
  Kit kit({.name = "wakeuptime",
           .about = "Sums up how long tasks slept by the kernel stack of who woke them. In microseconds.",
           .examples = "  skep wakeuptime          # until Ctrl-C\n"
                       "  skep wakeuptime 5        # for 5 seconds\n"
                       "  skep wakeuptime -f 5     # in folded form, for flame graphs\n"
                       "  skep wakeuptime -u       # no threads of the kernel\n"
                       "  skep wakeuptime -p 185   # of process 185"});
  StackCounts stacks(kit);
  bool only_user = false, verbose = false;
  u64 least = 1, most = ~u64{0};
  kit.wants_pid();
  kit.wants_duration("DURATION");
  kit.options().add_flag("-u,--useronly", only_user, "no threads of the kernel");
  kit.options().add_flag("-v,--verbose", verbose, "addresses too");
  kit.options().add_option("-m,--min-block-time", least, "microseconds from which on a sleep counts");
  kit.options().add_option("-M,--max-block-time", most, "microseconds up to which a sleep counts");
  stacks.add_common_options();
  if (auto status = kit.parse(arguments)) return *status;
  if (least > most) return kit.complain("-m is larger than -M");
  kit.set("only_user", only_user);
  kit.set("least_us", least);
  kit.set("most_us", most);
  stacks.apply();
  kit.on_summary([&] {
    auto times = kit.entries<wakeup_key, u64>("times");
    if (!times) return kit.give_up(times.error());
    std::sort(times->begin(), times->end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    if (!stacks.is_folded() && !kit.json()) kit.output().line("");
    for (const auto& [key, time] : *times)
      kit.json() ? print_json(kit, stacks, key, time) : print_one(kit, stacks, key, time, verbose);
    stacks.tell_missing();
  });
  return kit.run([&] {
    if (kit.json() || stacks.is_folded()) return;
    kit.output().line(fmt::format("Tracing blocked time (us) by kernel stack{}", duration_words(kit)));
  });
}

}  // namespace skep::tools
