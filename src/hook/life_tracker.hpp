// Turns ptrace's reports of a tree's life into the events of life_event.hpp.
//
// Order is the kernel's: a task's birth is told before anything of its own, its end after everything. A child's first
// stop may be reported before its parent's (wait(2) gives the youngest first), so a child that nobody has announced is
// held until its parent's report; if that never comes, for the parent was killed meanwhile, its birth is told when the
// parent's end is. PTRACE_EVENT_EXIT comes before the kernel's sched_process_exit and everything the program did, while
// the task still has its memory. Source: ptrace(2); Linux 6.18, kernel/{fork,exit}.c, fs/exec.c.
#pragma once
#include <algorithm>
#include <array>
#include <span>
#include <unordered_map>
#include <unordered_set>

#include "hook/life_event.hpp"
#include "hook/signal_tracker.hpp"

namespace skep::hook {

class LifeTracker {
 public:
  LifeTracker(const LifeInterest& interest, LifeEmitter& emitter)
      : interest_(interest), emitter_(emitter), signals_(interest, emitter) {}

  /// PTRACE_O_* that its interest needs.
  int ptrace_options() const noexcept;

  /// A task that was there before it was traced.
  void known(u32 tid);
  /// PTRACE_EVENT_EXEC of `tid`, which a thread `former` called.
  void execed(u32 tid, u32 former);
  /// The first stop of a child. False: it must wait until forked() or released() names it.
  bool may_begin(u32 child, int first_stop);
  /// PTRACE_EVENT_FORK, VFORK or CLONE of `tid`.
  void forked(u32 tid, u32 tgid, u32 child);
  struct Held {
    u32 child = 0;  ///< 0: a free place
    int stop = 0;   ///< the stop it is held in
  };
  /// Calls `begin` for each child that may go on now.
  template <class Begin>
  void begin_released(const Begin& begin) {
    for (Held& each : released_) {
      if (each.child == 0) continue;
      begin(each);
      each.child = 0;
    }
  }
  /// Children that wait, or are about to go on. Readable wherever the tracker was left: for those who let everything
  /// go.
  std::array<std::span<const Held>, 2> all_held() const noexcept { return {held_, released_}; }
  /// When nothing is left to be heard: children whose maker is gone, its end told before they came, wait for nobody.
  void release_strays();
  bool has_held() const noexcept {
    return std::ranges::any_of(held_, [](const Held& each) { return each.child != 0; });
  }
  bool orders_births() const noexcept { return interest_.fork || interest_.exit || interest_.births; }
  /// PTRACE_EVENT_EXIT; `by_own_call`: in exit or exit_group.
  void exiting(u32 tid, u32 tgid, bool group_dead, s32 exit_code, bool by_own_call);
  /// The task was reaped. `seen`: exiting() was called for it.
  void ended(u32 tid, u32 tgid, bool seen, bool group_dead, s32 exit_code);

  bool wants_signals() const noexcept { return interest_.signals(); }
  bool wants_calls(s32 number) const noexcept { return interest_.signals() && SignalTracker::sends(number); }
  SignalTracker& signals() noexcept { return signals_; }

 private:
  void release(Held& held);
  void tell_unreported_births(u32 tid, u32 tgid);
  void tell_birth(u32 tid, u32 tgid, u32 child);
  void tell_by_death(u32 tid, u32 tgid, u32 child);
  void tell_own_birth(u32 tid, u32 tgid);
  void release_orphans(u32 tid, u32 tgid, bool group_dead);

  const LifeInterest& interest_;
  LifeEmitter& emitter_;
  SignalTracker signals_;
  std::unordered_set<u32> announced_;  ///< children whose birth was told and whose first stop has not come
  std::unordered_set<u32> told_;       ///< tasks that live and whose birth was told
  /// Children that wait. Bounded: where more come at once, the rest begin unannounced.
  std::array<Held, 64> held_{};
  /// Children whose birth was told although their maker, whose process this is, may still report it.
  std::unordered_map<u32, u32> told_by_death_;
  u32 last_killed_ = 0;  ///< the process whose threads were looked through
  std::array<Held, 64> released_{};
  std::array<char, 4096> path_{};  ///< PATH_MAX
};

}  // namespace skep::hook
