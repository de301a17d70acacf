// skep softirqs: time in the handlers of soft interrupts.
#include "kit/interrupts.hpp"

namespace skep::tools {

const std::string_view softirqs_summary = "time in the handlers of soft interrupts, or how many there were";

int softirqs(const Arguments& arguments) {
  const InterruptFacts facts{.tool = {.name = "softirqs",
                                      .about = "Sums up the time that each handler of soft interrupts takes.",
                                      .examples = "  skep softirqs          # total times, at Ctrl-C\n"
                                                  "  skep softirqs 1 10     # each second, ten times\n"
                                                  "  skep softirqs -d       # a histogram for each\n"
                                                  "  skep softirqs -NT 1    # in nanoseconds, with the time\n"
                                                  "  skep softirqs -C       # how many\n"
                                                  "  skep softirqs -c 1     # on CPU 1"},
                             .title = "SOFTIRQ",
                             .key = "softirq",
                             .kind = "soft irq",
                             .count_flag = "-C,--events",
                             .width = 16};
  return interrupts_tool(facts, arguments);
}

}  // namespace skep::tools
