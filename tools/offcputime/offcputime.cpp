// skep offcputime: where tasks leave the CPU, and for how long.
#include "offcputime/offcputime.h"

#include <fmt/format.h>

#include "kit/stack_counts.hpp"

namespace skep::tools {

const std::string_view offcputime_summary = "time that tasks spend off the CPU, by stack";

int offcputime(const Arguments& arguments) {
  Kit kit({.name = "offcputime",
           .about = "Sums up the time that tasks spend off the CPU, waiting for something, by stack. In microseconds.",
           .examples = "  skep offcputime           # until Ctrl-C\n"
                       "  skep offcputime 5         # for 5 seconds\n"
                       "  skep offcputime -f 5      # in folded form, for flame graphs\n"
                       "  skep offcputime --flame out.svg 5   # as a picture\n"
                       "  skep offcputime -m 1000   # only waits of at least 1000 us\n"
                       "  skep offcputime -p 185    # of process 185\n"
                       "  skep offcputime -u -K     # user threads, the kernel's part of the stacks\n"
                       "  skep offcputime --state 2 # only waits that nothing interrupts (TASK_UNINTERRUPTIBLE)"});
  StackCounts stacks(kit);
  bool only_user = false, only_kernel = false;
  u64 least = 1, most = ~u64{0};
  s64 state = -1;
  kit.wants_pid();
  kit.wants_tid("-t,--tid");
  kit.wants_duration("DURATION");
  const Option user = kit.options().add_flag("-u,--user-threads-only", only_user, "no threads of the kernel");
  kit.options().add_flag("-k,--kernel-threads-only", only_kernel, "only threads of the kernel")->excludes(user);
  kit.options().add_option("-m,--min-block-time", least, "microseconds from which on a wait counts");
  kit.options().add_option("-M,--max-block-time", most, "microseconds up to which a wait counts");
  kit.options()
      .add_option("--state", state, "only in these states of include/linux/sched.h, as a mask; 0: running")
      ->check(not_negative());
  stacks.add_options();
  if (auto status = kit.parse(arguments)) return *status;
  if (only_kernel && stacks.kind() == "user")
    return kit.complain("-k with -U: threads of the kernel have no user stacks");
  if (least > most) return kit.complain("-m is larger than -M");
  kit.set("threads", static_cast<u32>(only_user ? THREADS_USER : only_kernel ? THREADS_KERNEL : THREADS_ALL));
  kit.set("least_us", least);
  kit.set("most_us", most);
  kit.set("wanted_state", state);
  stacks.apply();
  kit.on_summary([&] {
    auto times = kit.entries<stack_key, u64>("times");
    if (!times) return kit.give_up(times.error());
    stacks.print(*std::move(times), "us");
    stacks.tell_missing();
  });
  return kit.run([&] {
    if (kit.json() || stacks.is_folded() || stacks.is_drawn()) return;
    kit.output().line(fmt::format("Tracing off-CPU time (us) of {} by {} stack{}", scope_words(kit), stacks.kind(),
                                  duration_words(kit)));
  });
}

}  // namespace skep::tools
