// What a session tells people. See session.hpp.
#include "kernel/session.hpp"

#include <fmt/core.h>

#include <algorithm>

namespace skep::kernel {

std::string Session::notes() const {
  const std::lock_guard lock(mutex_);
  std::string text;
  const auto add = [&](const std::string& line) { text += text.empty() ? line : "\n" + line; };
  for (const std::string& line : notes_) add(line);
  for (const auto& [id, missed] : missed_) {
    if (missed.while_running != 0)
      add(
          fmt::format("program {} missed {} events: the kernel does not run it on a CPU where it is running, or, for "
                      "kprobes, where another one is",
                      missed.program, missed.while_running));
    if (missed.by_probes != 0)
      add(fmt::format(
          "program {} missed {} events: its probes were hit inside of a probe, or more calls were under way "
          "than the kernel has room to await the return of",
          missed.program, missed.by_probes));
  }
  return text;
}

void Session::note_missed(u32 program_id, const Missed& missed) {
  if (missed.while_running == 0 && missed.by_probes == 0) return;
  const std::lock_guard lock(mutex_);
  Missed& known = missed_[program_id];
  known.program = missed.program;
  known.while_running = std::max(known.while_running, missed.while_running);
  known.by_probes += missed.by_probes;
}

}  // namespace skep::kernel
