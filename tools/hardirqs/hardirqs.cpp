// skep hardirqs: time in the handlers of hard interrupts.
#include "kit/interrupts.hpp"

namespace skep::tools {

const std::string_view hardirqs_summary = "time in the handlers of hardware interrupts, or how many there were";

int hardirqs(const Arguments& arguments) {
  const InterruptFacts facts{.tool = {.name = "hardirqs",
                                      .about = "Sums up the time that each handler of hardware interrupts takes.",
                                      .examples = "  skep hardirqs          # total times, at Ctrl-C\n"
                                                  "  skep hardirqs 1 10     # each second, ten times\n"
                                                  "  skep hardirqs -d       # a histogram for each\n"
                                                  "  skep hardirqs -NT 1    # in nanoseconds, with the time\n"
                                                  "  skep hardirqs -C       # how many\n"
                                                  "  skep hardirqs -c 1     # on CPU 1"},
                             .title = "HARDIRQ",
                             .key = "hardirq",
                             .kind = "hard irq",
                             .count_flag = "-C,--count",
                             .width = 26};
  return interrupts_tool(facts, arguments);
}

}  // namespace skep::tools
