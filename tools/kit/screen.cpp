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

void Screen::wants_keep(Kit& kit) { kit.options().add_flag("-C,--noclear", keep, "does not clear the screen"); }

void Screen::wants_rows(Kit& kit) {
  kit.options().add_option("-r,--maxrows", rows, "rows that are printed")->capture_default_str()->check(above_zero());
}

void Screen::begin(trace::Output& output) const {
  if (output.json()) return;
  output.line(!keep && ::isatty(STDOUT_FILENO) ? "\x1b[H\x1b[2J" : "");
  if (no_summary) return;
  output.line(fmt::format("{:<8} loadavg: {}", clock_time(), load_average()));
  output.line("");
}

}  // namespace skep::tools
