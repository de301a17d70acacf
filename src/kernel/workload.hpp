// Starting a command and waiting for it, or for stop().
#pragma once
#include <skep/backend.hpp>

#include "base/fd.hpp"

namespace skep::kernel {

/// Ends a wait from any thread and from a signal handler.
class StopSwitch {
 public:
  static Result<StopSwitch> make();
  void set() noexcept;
  int fd() const noexcept { return event_.get(); }
  /// Puts it back after a wait that it ended.
  void clear() noexcept;

 private:
  explicit StopSwitch(base::Fd event) : event_(std::move(event)) {}
  base::Fd event_;
};

/// Starts `command` in this process's terminal and process group and waits for its end, or for the end of the process
/// `pid`; without either, waits for the switch. A command that is still running when the switch is set goes on by
/// itself. `sees_all`: a hook that cannot be narrowed to one process is attached, so that `pid` would promise too much
/// ("": none).
Result<RunResult> run_workload(const Workload& workload, StopSwitch& stop, const std::string& sees_all);

}  // namespace skep::kernel
