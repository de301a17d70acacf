// skep sigsnoop: every signal, whoever sends it.

#include "sigsnoop/sigsnoop.h"
#include "kit/columns.hpp"
#include "kit/kit.hpp"
#include "kit/process.hpp"

namespace skep::tools {

const std::string_view sigsnoop_summary = "every signal that is sent, the kernel's own included";

int sigsnoop(const Arguments& arguments) {
  Kit kit({.name = "sigsnoop",
           .about =
               "Traces signals: who sent which to whom, those that the kernel sends included. RESULT: 0 delivered, "
               "1 ignored, 2 already pending, 3 and 4 lost, for there was no room.",
           .examples = "  skep sigsnoop                # every signal of the machine\n"
                       "  skep sigsnoop -n -s TERM     # only SIGTERM, by name\n"
                       "  skep sigsnoop -p 181         # sent by process 181\n"
                       "  skep sigsnoop -- make",
           .user_engine = true});
  bool failed = false, names = false;
  std::string signal;
  kit.wants_pid();
  kit.options().add_flag("-x,--failed", failed, "only those that failed");
  kit.options().add_flag("-n,--name", names, "signals by name");
  kit.options().add_option("-s,--signal", signal, "only this signal: 9, KILL or SIGKILL");
  if (auto status = kit.parse(arguments)) return *status;
  const int number = signal_number(signal);
  if (!signal.empty() && number == 0) return kit.complain("-s: no signal '" + signal + "'");
  kit.set("only_failed", failed);
  kit.set("wanted_signal", static_cast<s32>(number));
  Columns columns(kit.output(), {{"TIME", "time", -8},
                                 {"PID", "pid", -7},
                                 {"COMM", "comm", -16},
                                 {"SIG", "signal", -9},
                                 {"TPID", "tpid", -7},
                                 {"RESULT", "result", -6}});
  kit.on_record<signal_event>("events", [&](const signal_event& event) {
    const Cell shown = names ? Cell(signal_name(event.signal)) : Cell(event.signal);
    columns.row({clock_time(), event.pid, text(event.comm), shown, event.target, event.result});
  });
  return kit.run([&] { columns.heading(); });
}

}  // namespace skep::tools
