// Breakpoints in a traced tree: functions of programs and libraries, at their entry and at their return.
//
// A probe is a place in a file. Where a process maps it as code (at an exec, or a later mmap), the first byte of the
// instruction becomes int3, in that process only: the mapping is private, the file stays. A hit runs programs, then the
// instruction is performed elsewhere (probe_step.hpp), so other threads never pass unseen. A return is caught by a
// breakpoint where the caller goes on: the thread's frames (return address and stack pointer) say which functions
// return there, so recursion, tail calls and longjmp are right, and the stack is not touched. Forked processes inherit
// the bytes, and get tables of their own; tasks that share memory share one. Everything put in is also in a table
// without pointers, from which it can be taken out wherever the tracer was left.
//
// A static probe may have a semaphore: a counter in the file's data that says whether anybody looks. It is raised in
// each process while the probe stands there, once for each counter, and lowered again.
#pragma once
#include <sys/user.h>

#include <array>
#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <unordered_map>
#include <vector>

#include "hook/probe_event.hpp"
#include "hook/probe_stepper.hpp"

namespace skep::hook {

/// What probes need of the loop.
class ProbeHost : public StopWaiter {
 public:
  virtual void on_hit(u32 tid, const ProbeHit& hit, const user_regs_struct& registers) noexcept = 0;
};

class UserProbes {
 public:
  /// `refused` counts places where no breakpoint could be put.
  UserProbes(std::span<const ProbeSite> sites, ProbeHost& host, std::atomic<u64>& refused)
      : sites_(sites), host_(host), stepper_(host), refused_(refused) {}

  bool any() const noexcept { return !sites_.empty(); }
  /// The task has a new program, or is met for the first time.
  void begin_program(u32 tid);
  /// Code was mapped. The task is stopped.
  void look_for_code(u32 tid);
  /// A task begins with its maker's memory, or a copy of it.
  void forked(u32 maker, u32 child);
  /// A task that is met behind the back of its maker: it shares memory with `sibling`.
  void joined(u32 tid, u32 sibling);
  /// A task that is met behind the back of its maker, and has a copy of its memory.
  void inherited(u32 tid);
  void ended(u32 tid);
  bool knows(u32 tid) const noexcept { return tasks_.contains(tid); }
  /// A SIGTRAP-stop. False: not ours, the task gets its signal. Else it may go on with `signal` (0: none), or, where
  /// that is -1, has not stopped any more in a way that this is about.
  bool trapped(u32 tid, int& signal);
  /// The task that trapped() was about goes on now: called just before, for a signal by which the tracer is left comes
  /// at the end of a system call, and by then the task may have stopped elsewhere.
  void went_on() noexcept { stepper_.went_on(); }

  /// Takes everything out, wherever the tracer was left. Tasks may run meanwhile: what they hit before that is set
  /// right by fix_stray(). The task whose step was left half done, or 0: it has stopped, and its stop is in nobody
  /// else's hand.
  u32 remove_all() noexcept;
  /// After remove_all(): the first stop of a task, whose memory may be a copy of what was there before.
  void remove_from(u32 tid) noexcept;
  /// After remove_all(): whether it is the task whose step was left half done, which now goes on with `signal` (0:
  /// none).
  bool take_stepped(u32 tid, int& signal) noexcept;
  /// A SIGTRAP-stop after remove_all(), or when nobody watches any more. True: it may go on, without a signal.
  bool fix_stray(u32 tid) noexcept;
  /// Processes with something in their memory; some more than once.
  void each_process(void (*what)(u32 tgid)) const noexcept;

 private:
  struct Point {
    u8 original = 0;
    s32 site = -1;  ///< none: a return comes by here
    bool returns = false;
  };
  /// One address space.
  struct Space {
    u32 tgid = 0;
    std::map<u64, Point> points;
    std::set<u64> semaphores;  ///< that were raised
    CodeWriter code;
    u64 scratch = 0;  ///< the program's entry point, which runs once, at its beginning
  };
  struct Frame {
    u64 return_address = 0, stack = 0, function = 0;
    u32 site = 0;
  };
  struct Task {
    std::shared_ptr<Space> space;
    std::vector<Frame> frames;
  };
  struct Inserted {
    u64 address = 0;
    u32 tgid = 0;
    u8 original = 0;
    bool is_semaphore = false;
  };

  Space& make_space(u32 tid);
  void forget_space(const Task& task) noexcept;
  bool insert(u32 tid, Space& space, u64 address, const Point& point);
  template <class Which>
  void forget(const Which& which) noexcept;
  void forget_what_is_gone(u32 tid, Space& space);
  void raise_semaphore(u32 tid, Space& space, u64 address);
  bool note(const Inserted& one) noexcept;
  void enter(u32 tid, Task& task, u32 site, u64 address, const user_regs_struct& registers);
  void leave(u32 tid, Task& task, u64 address, user_regs_struct& registers);
  InsnBytes bytes_at(u32 tid, const Space& space, u64 address) const noexcept;

  std::span<const ProbeSite> sites_;
  ProbeHost& host_;
  std::unordered_map<u32, Task> tasks_;
  ProbeStepper stepper_;
  std::array<Inserted, 8192> inserted_{};
  u32 inserted_count_ = 0;
  std::atomic<u64>& refused_;
};

}  // namespace skep::hook
