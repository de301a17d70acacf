// skep killsnoop: signals that processes send each other.

#include "killsnoop/killsnoop.h"
#include "kit/columns.hpp"
#include "kit/kit.hpp"
#include "kit/process.hpp"

namespace skep::tools {

const std::string_view killsnoop_summary = "signals sent by kill(): from whom, to whom, which";

int killsnoop(const Arguments& arguments) {
  Kit kit({.name = "killsnoop",
           .about = "Traces signals sent by kill(), tkill(), tgkill() and their queueing forms.",
           .examples = "  skep killsnoop               # every kill() of the machine\n"
                       "  skep killsnoop -x            # only those that failed\n"
                       "  skep killsnoop -s 9          # only signal 9\n"
                       "  skep killsnoop -T 181        # only sent to process 181\n"
                       "  skep killsnoop -- make",
           .user_engine = true});
  bool failed = false;
  int target = 0;
  std::string signal;
  kit.wants_pid();
  kit.options().add_flag("-x,--failed", failed, "only those that failed");
  kit.options().add_option("-T,--tpid", target, "only sent to this process");
  kit.options().add_option("-s,--signal", signal, "only this signal: 9, KILL or SIGKILL");
  if (auto status = kit.parse(arguments)) return *status;
  const int number = signal_number(signal);
  if (!signal.empty() && number == 0) return kit.complain("-s: no signal '" + signal + "'");
  kit.set("only_failed", failed);
  kit.set("wanted_target", static_cast<s32>(target));
  kit.set("wanted_signal", static_cast<s32>(number));
  Columns columns(kit.output(), {{"TIME", "time", -9},
                                 {"PID", "pid", -6},
                                 {"COMM", "comm", -16},
                                 {"SIG", "signal", -4},
                                 {"TPID", "tpid", -6},
                                 {"RESULT", "result"}});
  kit.on_record<kill_event>("events", [&](const kill_event& event) {
    columns.row({clock_time(), event.pid, text(event.comm), event.signal, event.target, event.result});
  });
  return kit.run([&] { columns.heading(); });
}

}  // namespace skep::tools
