// skep profile: what the CPUs do, by samples of stacks.
#include "profile/profile.h"

#include <fmt/format.h>

#include "kit/containers.hpp"
#include "kit/stack_counts.hpp"

namespace skep::tools {

const std::string_view profile_summary = "what the CPUs run, by samples of stacks";

namespace {

wanted_tasks tasks_of(const std::vector<u32>& pids, const std::vector<u32>& tids) {
  wanted_tasks tasks{};
  std::copy(pids.begin(), pids.end(), tasks.pids);
  std::copy(tids.begin(), tids.end(), tasks.tids);
  return tasks;
}

std::string threads_words(Kit& kit, const std::vector<u32>& pids, const std::vector<u32>& tids) {
  if (!pids.empty()) return fmt::format("PID [{}]", fmt::join(pids, ", "));
  if (!tids.empty()) return fmt::format("TID [{}]", fmt::join(tids, ", "));
  return std::string(scope_words(kit));
}

}  // namespace

int profile(const Arguments& arguments) {
  Kit kit({.name = "profile",
           .about = "Samples the stacks of what runs on the CPUs and counts them.",
           .examples = "  skep profile             # 49 times a second on each CPU, until Ctrl-C\n"
                       "  skep profile -F 99 10    # 99 times a second, for 10 seconds\n"
                       "  skep profile -p 185      # process 185\n"
                       "  skep profile -L 185      # thread 185\n"
                       "  skep profile -U 5        # the programs' part of the stacks\n"
                       "  skep profile -K -a 5     # the kernel's part, marked\n"
                       "  skep profile -f 5        # in folded form, for flame graphs\n"
                       "  skep profile --flame out.svg 5   # as a picture\n"
                       "  skep profile -- make     # what the command starts"});
  StackCounts stacks(kit);
  std::vector<u32> pids, tids;
  u64 frequency = 49, period = 0;
  int cpu = -1;
  bool marked = false, idle = false;
  const Check numbers = range(1, 1 << 22);
  kit.wants_duration("DURATION");
  Containers containers(kit);
  const Option by_pid = kit.options().add_option("-p,--pid", pids, "these processes only, separated by commas");
  by_pid->delimiter(',')->check(numbers)->expected(1, PROFILE_TASKS)->allow_extra_args(false);
  const Option by_tid = kit.options().add_option("-L,--tid", tids, "these threads only, separated by commas");
  by_tid->delimiter(',')->check(numbers)->expected(1, PROFILE_TASKS)->allow_extra_args(false)->excludes(by_pid);
  const Option often = kit.options().add_option("-F,--frequency", frequency, "samples each second");
  often->capture_default_str()->check(above_zero());
  kit.options()
      .add_option("-c,--count", period, "a sample for each so many events of the clock (ns)")
      ->check(above_zero())
      ->excludes(often);
  kit.options().add_flag("-a,--annotations", marked, "\"_[k]\" behind functions of the kernel");
  kit.options().add_flag("-I,--include-idle", idle, "idle CPUs too");
  kit.options().add_option("-C,--cpu", cpu, "this CPU only")->check(not_negative());
  stacks.add_options();
  if (auto status = kit.parse(arguments)) return *status;
  if (auto opened = containers.open(); !opened) return kit.complain(opened.error());
  if (pids.size() > PROFILE_TASKS || tids.size() > PROFILE_TASKS)
    return kit.complain(fmt::format("at most {} processes or threads", PROFILE_TASKS));
  kit.set("tasks", tasks_of(pids, tids));
  kit.set("wanted_cpu", s32{cpu});
  kit.set("with_idle", idle);
  if (marked) stacks.mark_kernel();
  stacks.apply();
  kit.on_attach([&](Object& object, std::vector<Link>& links) -> Result<void> {
    auto sample = SKEP_TRY(object.program("sample"));
    const std::string event =
        period != 0 ? fmt::format("cpu-clock:{}", period) : fmt::format("cpu-clock:{}hz", frequency);
    links.push_back(SKEP_TRY(sample.attach({AttachKind::perf_event, event})));
    return {};
  });
  kit.on_summary([&] {
    auto samples = kit.entries<stack_key, u64>("samples");
    if (!samples) return kit.give_up(samples.error());
    stacks.print(*std::move(samples), "samples");
    stacks.tell_missing();
  });
  return kit.run([&] {
    if (kit.json() || stacks.is_folded() || stacks.is_drawn()) return;
    kit.output().line(
        fmt::format("Sampling at {} of {} by {} stack{}{}",
                    period != 0 ? fmt::format("every {} events", period) : fmt::format("{} Hertz", frequency),
                    threads_words(kit, pids, tids), stacks.kind(), cpu >= 0 ? fmt::format(" on CPU#{}", cpu) : "",
                    duration_words(kit)));
  });
}

}  // namespace skep::tools
