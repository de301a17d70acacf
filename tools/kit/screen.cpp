// Clears only where standard output is a terminal, so that a pipe gets text alone.
#include "kit/screen.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include "base/mapped_file.hpp"
#include "kit/columns.hpp"

namespace skep::tools {

std::string load_average() {
  std::string averages = base::read_text("/proc/loadavg").value_or("");
  while (averages.ends_with('\n')) averages.pop_back();
  return averages;
}

void begin_screen(trace::Output& output, bool keep, bool no_summary) {
  if (output.json()) return;
  output.line(!keep && ::isatty(STDOUT_FILENO) ? "\x1b[H\x1b[2J" : "");
  if (no_summary) return;
  output.line(fmt::format("{:<8} loadavg: {}", clock_time(), load_average()));
  output.line("");
}

}  // namespace skep::tools
