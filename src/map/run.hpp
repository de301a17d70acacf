// One run of a program, seen from the maps: where it runs, and what must stay alive until it ends.
//
// A program holds raw pointers: an inner map it looked up, the target of a tail call. The host may replace these
// slots at any moment, so whoever replaces one waits until every run that may still hold the old pointer is over
// before it lets the old object go. That is RCU with a wait, as the kernel does it for maps of maps. The cost
// for a run is one ordered store at its beginning and one plain store at its end.
//
// The list of running threads is one per process because the threads are: a map cannot know which of them will
// look at it. Nothing else here is shared.
// Source: Linux Documentation/RCU/whatisRCU.rst (the idea); kernel/bpf/syscall.c waits in the same places.
#pragma once
#include <skep/types.hpp>

#include "base/run.hpp"

namespace skep::map {

/// CPUs that per-CPU maps have slots for: the kernel's possible CPUs. At least 1.
u32 possible_cpus() noexcept;
/// The CPU whose slots the running program uses. The engine sets it per thread before a run (event's CPU).
inline u32 current_cpu() noexcept { return base::current_cpu; }
/// A number that is no possible CPU becomes 0.
void set_current_cpu(u32 cpu) noexcept;

/// Stands around a run (or a batch of runs) on this thread: a local variable of the function that calls
/// Function::run. Sets the current CPU. May nest. Maps of maps and program arrays answer nothing, and helpers
/// read no program memory, outside of one.
class RunSection {
 public:
  explicit RunSection(u32 cpu) noexcept;
  ~RunSection();
  RunSection(const RunSection&) = delete;
  RunSection& operator=(const RunSection&) = delete;

  /// Whether this thread is inside of one.
  static bool active() noexcept;
  /// How many bytes from `address` on belong to the stack of this thread between its outermost RunSection and
  /// `caller_frame` (__builtin_frame_address(0) of a helper): program stacks are inside. 0: none of it, or no run.
  static u64 stack_bytes_from(u64 address, const void* caller_frame) noexcept;
};

/// Waits until every RunSection that other threads are in now has ended. False: one did not end within a second (the
/// process that shared our memory was killed in the middle of a run); what it may hold must then stay.
/// Must not be called inside of a RunSection: check with RunSection::active().
[[nodiscard]] bool synchronize_runs() noexcept;

}  // namespace skep::map
