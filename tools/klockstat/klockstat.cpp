// skep klockstat: where the kernel waits for locks, and how long it holds them.
#include "klockstat/klockstat.h"

#include <fmt/format.h>

#include <algorithm>

#include "kit/columns.hpp"
#include "kit/stack_counts.hpp"

namespace skep::tools {

const std::string_view klockstat_summary = "time that the kernel waits for locks and holds them, by caller";

namespace {

using Locks = std::vector<std::pair<lock_key, lock_times>>;

struct Order {
  std::string acquired = "max", held = "max";
};

/// "acq_count,hld_total". False: a field that does not exist.
bool read_order(const std::vector<std::string>& fields, Order& order) {
  for (const std::string& field : fields) {
    const std::string by = field.size() > 4 ? field.substr(4) : "";
    if (by != "max" && by != "total" && by != "count") return false;
    if (field.starts_with("acq_"))
      order.acquired = by;
    else if (field.starts_with("hld_"))
      order.held = by;
    else
      return false;
  }
  return true;
}

u64 weight(const lock_times& times, std::string_view by) {
  return by == "total" ? times.total_ns : by == "count" ? times.count : times.most_ns;
}

/// Functions between the hook and who takes the lock: the hook's own, and those that locks are made of.
bool is_lock_itself(std::string_view name) {
  for (const std::string_view begin : {"bpf_",
                                       "__bpf_",
                                       "__traceiter_",
                                       "__probestub_",
                                       "__mutex_",
                                       "mutex_",
                                       "__down_",
                                       "down_",
                                       "rwsem_",
                                       "__rwsem_",
                                       "_raw_",
                                       "native_queued_",
                                       "__pv_queued_",
                                       "queued_",
                                       "rt_mutex_",
                                       "__rt_mutex_",
                                       "percpu_",
                                       "__percpu_",
                                       "ftrace_",
                                       "kretprobe_",
                                       "arch_rethook",
                                       "rethook_",
                                       "trace_contention_"})
    if (name.starts_with(begin)) return true;
  return false;
}

struct Shown {
  std::size_t locks = ~std::size_t{0};
  std::size_t frames = 1;
  std::string caller;
};

/// The stack from the caller on.
std::vector<symbols::Frame> from_caller(StackCounts& stacks, s32 id) {
  auto frames = stacks.symbolizer().kernel(stacks.addresses(id));
  const auto caller = std::find_if_not(frames.begin(), frames.end(), [](auto& f) { return is_lock_itself(f.name); });
  if (caller != frames.end()) frames.erase(frames.begin(), caller);
  return frames;
}

void print_table(Kit& kit, StackCounts& stacks, Locks locks, std::string_view what, std::string_view by,
                 const Shown& shown) {
  std::sort(locks.begin(), locks.end(), [&](auto& a, auto& b) { return weight(a.second, by) > weight(b.second, by); });
  const std::string average = fmt::format("Avg {}", what),
                    most = fmt::format("Max {}", what == "Spin" ? "spin" : "hold"),
                    total = fmt::format("Total {}", what == "Spin" ? "spin" : "hold");
  Columns columns(kit.output(), {{"Caller", "caller", 40},
                                 {average, "average_ns", 10},
                                 {"Count", "count", 6},
                                 {most, "max_ns", 10},
                                 {total, "total_ns", 10},
                                 {"", "kind", 0, false}});
  if (!kit.json()) kit.output().line("");
  columns.heading();
  std::size_t printed = 0;
  for (const auto& [key, times] : locks) {
    if (printed == shown.locks) break;
    const auto frames = from_caller(stacks, key.stack);
    const std::string caller = frames.empty() ? "[Missed Kernel Stack]" : symbols::text(frames[0], {.offset = true});
    if (!caller.starts_with(shown.caller)) continue;
    ++printed;
    columns.row({caller, times.total_ns / times.count, times.count, times.most_ns, times.total_ns,
                 what == "Spin" ? "acquire" : "hold"});
    for (std::size_t i = 1; !kit.json() && i < std::min(shown.frames, frames.size()); ++i)
      kit.output().line(fmt::format("{:>40}", symbols::text(frames[i], {.offset = true})));
  }
}

}  // namespace

int klockstat(const Arguments& arguments) {
  Kit kit({.name = "klockstat",
           .about = "Sums up how long the kernel waits for mutexes and holds them, by caller. In nanoseconds.",
           .examples = "  skep klockstat              # until Ctrl-C\n"
                       "  skep klockstat -d 5         # for 5 seconds\n"
                       "  skep klockstat -i 5         # every 5 seconds\n"
                       "  skep klockstat -p 123       # of process 123\n"
                       "  skep klockstat -c pipe_     # only callers whose names begin so\n"
                       "  skep klockstat -S acq_count # those that waited most often first\n"
                       "  skep klockstat -n 3 -s 3    # three callers, three frames of each stack"});
  StackCounts stacks(kit);
  Shown shown;
  Order order;
  std::vector<std::string> fields;
  double interval = 0;
  kit.wants_pid();
  kit.wants_tid("-t,--tid");
  kit.wants_duration("-d,--duration");
  kit.options().add_option("-i,--interval", interval, "seconds between outputs")->check(duration());
  kit.options().add_option("-n,--locks", shown.locks, "callers that are printed")->check(above_zero());
  kit.options().add_option("-s,--stacks", shown.frames, "frames of each stack")->check(above_zero());
  kit.options().add_option("-c,--caller", shown.caller, "only callers whose names begin with this");
  kit.options()
      .add_option("-S,--sort", fields, "acq_ or hld_ with max, total or count; both: separated by a comma")
      ->delimiter(',')
      ->allow_extra_args(false);
  kit.options()
      .add_option("--stack-storage-size", stacks.storage(), "different stacks that are kept")
      ->capture_default_str()
      ->check(range(1, 1 << 20));
  if (auto status = kit.parse(arguments)) return *status;
  if (!read_order(fields, order))
    return kit.complain("-S: expected acq_max, acq_total, acq_count, hld_max, hld_total or hld_count");
  if (interval > 0) kit.print_every(interval);
  stacks.apply();
  kit.on_summary([&] {
    auto all = kit.entries<lock_key, lock_times>("times", true);
    if (!all) return kit.give_up(all.error());
    Locks acquired, held;
    for (const auto& one : *all) (one.first.what == TIME_HELD ? held : acquired).push_back(one);
    print_table(kit, stacks, std::move(acquired), "Spin", order.acquired, shown);
    if (!kit.is_loaded("lock__contention")) print_table(kit, stacks, std::move(held), "Hold", order.held, shown);
    stacks.tell_missing();
  });
  return kit.run([&] {
    if (kit.is_loaded("lock__contention"))
      note(
          "waits of all kinds of locks are shown, from the kernel's tracepoints of contention: how long locks are held "
          "they do not tell");
    if (!kit.json()) kit.output().line("Tracing lock events... Hit Ctrl-C to end.");
  });
}

}  // namespace skep::tools
