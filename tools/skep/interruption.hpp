// Signals while a workload is observed, and how skep ends when it ends.
//
// A command decides what a signal means: Ctrl-C reaches it through the terminal, other signals are passed on, and skep
// ends when it does. The same signal again, or any without a command, ends the observation.
#pragma once
#include <functional>
#include <skep/backend.hpp>

#include "verb.hpp"

namespace skep::tools {

/// One at a time in a process.
class Interruption {
 public:
  /// `stop` is called from a signal handler: it must be safe there, as Backend::stop() is.
  explicit Interruption(std::function<void()> stop);
  ~Interruption() { end(); }
  Interruption(const Interruption&) = delete;
  Interruption& operator=(const Interruption&) = delete;

  /// From Workload::on_start; 0: there is none.
  void command_started(int pid);
  /// `stop` is not called any more.
  void end();
  /// Whether a signal ended the observation.
  bool came() const;
  /// The exit status for a run that ended so. Where a command ended by a signal, this process ends by the same one.
  int status_for(const RunResult& ended, bool has_command) const;

 private:
  std::function<void()> stop_;
};

/// Says why a run failed. As a shell says it: 127 there is no such command, 126 it cannot be run.
int complain_of_run(const Error& error, bool has_command, Form form = Form::text);

}  // namespace skep::tools
