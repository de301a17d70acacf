// Notes, on each CPU, which task ran before the one that runs.
//
// finish_task_switch(prev) runs after a switch, as the new task, and knows the old one. Of the tracepoints,
// sched_switch knows the old one but runs as it, and sched_exit_tp runs as the new one but does not know the old one.
// So a small program at the first writes what one at the second reads, in a per-CPU array; preemption is off in
// between. Source: kernel/sched/core.c, __schedule() and schedule_tail().
#pragma once
#include <skep/result.hpp>

#include "base/fd.hpp"
#include "kernel/token.hpp"

namespace skep::kernel {

class SwitchRecorder {
 public:
  /// Loads and attaches the program; detached when the object goes. Errors: permission, unsupported, io.
  static Result<SwitchRecorder> start(const Token* token);
  /// A per-CPU array of one u64: the address of the task_struct.
  int map() const noexcept { return map_.get(); }

 private:
  base::Fd map_, link_;
};

}  // namespace skep::kernel
