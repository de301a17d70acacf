// Notes, on each CPU, which task ran before the one that runs.
//
// finish_task_switch(prev) runs after a switch, as the new task, and knows the old one. Of the tracepoints,
// sched_switch knows the old one but runs as it, and sched_exit_tp runs as the new one but does not know the old one.
// So a small program at the first writes what one at the second reads, in a per-CPU array; preemption is off in
// between. A kernel may keep programs from running while some tasks of a machine are current; then the first one has
// seen nothing, and what lies there is of an earlier switch: so it notes whom it is for, too. Source:
// kernel/sched/core.c, __schedule() and schedule_tail().
#pragma once
#include <skep/result.hpp>

#include "base/fd.hpp"
#include "kernel/token.hpp"

namespace skep::kernel {

class SwitchRecorder {
 public:
  /// Loads and attaches the program; detached when the object goes. Errors: permission, unsupported, io.
  static Result<SwitchRecorder> start(const Token* token);
  /// A per-CPU array of one element: the addresses of two task_structs, the one that ran before, and the one that runs.
  int map() const noexcept { return map_.get(); }

 private:
  base::Fd map_, link_;
};

}  // namespace skep::kernel
