// Keeps the tracer on the CPU of the task it traces.
//
// A stop is two context switches. On one CPU each takes a microsecond or so; across two it needs an interrupt to a CPU
// that may be asleep, which costs ten times as much (measured: 16 against 90 us for entry and exit). The scheduler does
// not know that tracer and task never run at the same time, so we tell it: now and then we look where the stopped task
// ran and go there. The task itself is never pinned.
#pragma once
#include <sched.h>
#include <skep/types.hpp>

namespace skep::hook {

class CpuFollower {
 public:
  CpuFollower() noexcept;
  /// Called at every stop; looks once in `interval` of them.
  void stopped(u32 tid) noexcept {
    if (enabled_ && --countdown_ == 0) follow(tid);
  }
  /// Back to where the process may run.
  void leave() noexcept;

 private:
  static constexpr u32 interval = 64;
  void follow(u32 tid) noexcept;

  cpu_set_t allowed_;
  bool enabled_ = false;
  u32 countdown_ = 2;
  int cpu_ = -1;
};

}  // namespace skep::hook
