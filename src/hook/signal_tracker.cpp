// See signal_tracker.hpp.
#include "hook/signal_tracker.hpp"

#include <dirent.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string>

#include "hook/proc_file.hpp"

namespace skep::hook {
namespace {

constexpr std::size_t most_remembered = 4096;

/// What a task does with signals, of /proc/TID/status.
struct Disposition {
  u64 pending = 0, blocked = 0, ignored = 0, caught = 0;
  u32 tgid = 0;
  char comm[16] = {};

  static u64 bit(s32 signal) noexcept { return u64{1} << (signal - 1); }
  bool ignores(s32 signal) const noexcept {
    constexpr u64 by_default =
        u64{1} << (SIGCHLD - 1) | u64{1} << (SIGURG - 1) | u64{1} << (SIGWINCH - 1) | u64{1} << (SIGCONT - 1);
    if ((ignored & bit(signal)) != 0) return true;
    return (by_default & bit(signal)) != 0 && (caught & bit(signal)) == 0;
  }
  bool defaults(s32 signal) const noexcept { return ((caught | ignored) & bit(signal)) == 0 && is_fatal(signal); }
  /// The kernel turns a signal that ends a process without a core dump into SIGKILL for each of its threads when it is
  /// sent; for a task that is traced it does not. Programs see what they see in the kernel.
  bool is_ended_by(s32 signal) const noexcept { return defaults(signal) && !dumps_core(signal); }
  static bool is_fatal(s32 signal) noexcept {
    constexpr u64 others = u64{1} << (SIGCONT - 1) | u64{1} << (SIGCHLD - 1) | u64{1} << (SIGWINCH - 1) |
                           u64{1} << (SIGURG - 1) | u64{1} << (SIGSTOP - 1) | u64{1} << (SIGTSTP - 1) |
                           u64{1} << (SIGTTIN - 1) | u64{1} << (SIGTTOU - 1);
    return (others & bit(signal)) == 0;
  }
  static bool dumps_core(s32 signal) noexcept {
    constexpr u64 dumping = u64{1} << (SIGQUIT - 1) | u64{1} << (SIGILL - 1) | u64{1} << (SIGTRAP - 1) |
                            u64{1} << (SIGABRT - 1) | u64{1} << (SIGFPE - 1) | u64{1} << (SIGSEGV - 1) |
                            u64{1} << (SIGBUS - 1) | u64{1} << (SIGSYS - 1) | u64{1} << (SIGXCPU - 1) |
                            u64{1} << (SIGXFSZ - 1);
    return (dumping & bit(signal)) != 0;
  }
  LifeEvent::Result send(s32 signal) const noexcept {
    if ((blocked & bit(signal)) == 0 && ignores(signal)) return LifeEvent::Result::ignored;
    constexpr s32 first_queued = 32;
    return signal < first_queued && (pending & bit(signal)) != 0 ? LifeEvent::Result::already_pending
                                                                 : LifeEvent::Result::delivered;
  }
};

bool disposition_of(u32 tid, Disposition& found) noexcept {
  char text[4096];
  const std::string_view status = read_proc(tid, "status", text, sizeof text);
  const auto tgid = status_number(status, "\nTgid:");
  if (!tgid) return false;
  found.tgid = static_cast<u32>(*tgid);
  const auto mask = [&](std::string_view key) { return status_number(status, key, 16).value_or(0); };
  found.pending = mask("\nSigPnd:") | mask("\nShdPnd:");
  found.blocked = mask("\nSigBlk:");
  found.ignored = mask("\nSigIgn:");
  found.caught = mask("\nSigCgt:");
  read_comm(tid, found.comm);
  return true;
}

u32 pid_of_pidfd(u32 tid, u64 fd) noexcept {
  char file[64], text[512];
  std::snprintf(file, sizeof file, "fdinfo/%u", static_cast<u32>(fd));
  const auto pid = status_number(read_proc(tid, file, text, sizeof text), "\nPid:");
  return pid ? static_cast<u32>(*pid) : 0;
}

}  // namespace

bool SignalTracker::sends(s32 number) noexcept {
  return std::ranges::any_of(sending_calls, [&](u32 call) { return static_cast<s32>(call) == number; });
}

/// kill(0), kill(-1) and kill(-GROUP) mean every process they may be sent to: those of /proc that we see.
void SignalTracker::find_targets(Send& send, const SyscallEvent& call) {
  const auto one = [&](u64 pid) { send.targets.push_back({.pid = static_cast<u32>(pid)}); };
  switch (call.nr) {
    case SYS_tkill:
      return one(call.args[0]);
    case SYS_tgkill:
    case SYS_rt_tgsigqueueinfo:
      return one(call.args[1]);
    case SYS_rt_sigqueueinfo:
      return one(call.args[0]);
    case SYS_pidfd_send_signal:
      return one(pid_of_pidfd(call.tid, call.args[0]));
    default:
      break;
  }
  const auto pid = static_cast<s32>(call.args[0]);
  if (pid > 0) return one(static_cast<u64>(pid));
  const pid_t group = pid == 0 ? ::getpgid(static_cast<pid_t>(call.tid)) : -pid;
  DIR* const proc = ::opendir("/proc");
  if (proc == nullptr) return;
  while (const dirent* entry = ::readdir(proc)) {
    u32 found = 0;
    const char* const end = entry->d_name + std::strlen(entry->d_name);
    if (std::from_chars(entry->d_name, end, found).ptr != end || found <= 1) continue;
    const bool everybody = pid == -1 && found != send.tgid;
    if (everybody || (pid != -1 && ::getpgid(static_cast<pid_t>(found)) == group)) one(found);
  }
  ::closedir(proc);
}

void SignalTracker::call_begins(u32 tid, u32 tgid, const SyscallEvent& call, helper::Task& task) {
  Send send{.tid = tid, .tgid = tgid};
  send.to_group = call.nr != SYS_tkill && call.nr != SYS_tgkill && call.nr != SYS_rt_tgsigqueueinfo;
  const bool is_thread_group_call = call.nr == SYS_tgkill || call.nr == SYS_rt_tgsigqueueinfo;
  send.signal = static_cast<s32>(call.args[is_thread_group_call ? 2 : 1]);
  send.code = call.nr == SYS_tkill || call.nr == SYS_tgkill ? SI_TKILL : SI_USER;
  if (send.signal <= 0 || send.signal > 64) return;
  u64 info = 0;
  if (call.nr == SYS_rt_sigqueueinfo || call.nr == SYS_pidfd_send_signal) info = call.args[2];
  if (call.nr == SYS_rt_tgsigqueueinfo) info = call.args[3];
  s32 head[3];  // si_signo, si_errno, si_code: at the same place in every ABI
  if (info != 0 && task.read_user(head, info, sizeof head) == 0) {
    send.error = head[1];
    send.code = head[2];
  }
  find_targets(send, call);
  std::erase_if(send.targets, [&](Target& target) {
    Disposition found;
    if (target.pid == 0 || !disposition_of(target.pid, found)) return true;
    target.tgid = found.tgid;
    target.result = found.send(send.signal);
    return false;
  });
  std::erase_if(sends_, [&](const Send& old) { return old.tid == tid; });
  if (!send.targets.empty()) sends_.push_back(std::move(send));
}

void SignalTracker::tell(const Send& send, Target& target) {
  if (target.told) return;
  target.told = true;
  if (std::ranges::find(senders_, send.tgid) == senders_.end()) {
    if (senders_.size() >= most_remembered) senders_.erase(senders_.begin());
    senders_.push_back(send.tgid);
  }
  if (target.result == LifeEvent::Result::delivered && send.signal != SIGKILL) {
    if (undelivered_.size() >= most_remembered) undelivered_.erase(undelivered_.begin());
    undelivered_.push_back({target.pid, target.tgid, send.signal, send.to_group});
  }
  if (!interest_.signal_generate) return;
  LifeEvent event;
  event.kind = LifeKind::signal_generate;
  event.subject = target.pid;
  read_comm(target.pid, event.comm);
  event.signal = send.signal;
  event.error = send.error;
  event.code = send.code;
  event.to_group = send.to_group;
  event.result = target.result;
  emitter_.emit_life(send.tid, send.tgid, event);
}

void SignalTracker::call_returned(u32 tid, s64 result) {
  const auto at = std::ranges::find(sends_, tid, &Send::tid);
  if (at == sends_.end()) return;
  Send send = std::move(*at);
  sends_.erase(at);
  if (result != 0) return;
  for (Target& target : send.targets) tell(send, target);
}

bool SignalTracker::take_undelivered(u32 tid, u32 tgid, s32 signal) {
  const auto found = std::ranges::find_if(undelivered_, [&](const Undelivered& one) {
    return one.signal == signal && (one.to_group ? one.tgid == tgid : one.pid == tid);
  });
  if (found == undelivered_.end()) return false;
  undelivered_.erase(found);
  return true;
}

bool SignalTracker::tell_pending(u32 tgid, s32 signal) {
  for (Send& send : sends_) {
    if (send.signal != signal) continue;
    for (Target& target : send.targets) {
      if (target.tgid != tgid || target.told) continue;
      tell(send, target);
      return true;
    }
  }
  return false;
}

void SignalTracker::tell_delivered(u32 tid, u32 tgid, s32 signal, s32 error, s32 code, u64 handler) {
  if (!interest_.signal_deliver) return;
  LifeEvent event;
  event.kind = LifeKind::signal_deliver;
  event.subject = tid;
  event.signal = signal;
  event.error = error;
  event.code = code;
  event.handler = handler;
  event.handler_flags = handler == ~u64{0} ? ~u64{0} : 0;
  emitter_.emit_life(tid, tgid, event);
}

void SignalTracker::delivering(u32 tid, u32 tgid, s32 signal) {
  siginfo_t info{};
  if (::ptrace(PTRACE_GETSIGINFO, static_cast<pid_t>(tid), nullptr, &info) != 0) return;
  if (info.si_signo != signal || info.si_code >> 8 == PTRACE_EVENT_EXIT) return;  // killed meanwhile: in another stop
  Disposition receiver;
  if (!disposition_of(tid, receiver)) return;
  // Of these two the kernel itself wrote the sender down.
  const bool from_call = info.si_code == SI_USER || info.si_code == SI_TKILL;
  tell_pending(tgid, signal);
  const bool told = take_undelivered(tid, tgid, signal) ||
                    (from_call && std::ranges::find(senders_, static_cast<u32>(info.si_pid)) != senders_.end());
  if (!told && interest_.signal_generate) {
    LifeEvent event;
    event.kind = LifeKind::signal_generate;
    const bool is_fault = signal == SIGSEGV || signal == SIGBUS || signal == SIGILL || signal == SIGFPE ||
                          signal == SIGTRAP || signal == SIGSYS;
    event.to_group = info.si_code != SI_TKILL && !(is_fault && info.si_code > 0);
    event.subject = event.to_group ? tgid : tid;
    std::memcpy(event.comm, receiver.comm, sizeof event.comm);
    event.signal = signal;
    event.error = info.si_errno;
    event.code = info.si_code;
    if (receiver.ignores(signal)) event.result = LifeEvent::Result::ignored;
    // A child's end is told by that child; who else sent it is not known, and the receiver stands for it.
    const bool of_child = signal == SIGCHLD && info.si_code > 0 && info.si_pid > 0;
    emitter_.emit_life(of_child ? static_cast<u32>(info.si_pid) : tid, of_child ? static_cast<u32>(info.si_pid) : tgid,
                       event);
  }
  if (receiver.ignores(signal)) return;
  if (receiver.is_ended_by(signal)) return tell_killed(tid, tgid);
  if (receiver.defaults(signal))
    killed_.push_back(tid);  // a core dump: this thread gets the signal, its siblings SIGKILL
  const bool caught = (receiver.caught & Disposition::bit(signal)) != 0;
  tell_delivered(tid, tgid, signal, info.si_errno, info.si_code, caught ? ~u64{0} : 0);
}

void SignalTracker::tell_killed(u32 tid, u32 tgid) {
  if (std::ranges::find(killed_, tid) != killed_.end()) return;
  killed_.push_back(tid);
  tell_delivered(tid, tgid, SIGKILL, 0, SI_USER, 0);
}

void SignalTracker::ending(u32 tid, u32 tgid, s32 exit_code, bool by_own_call) {
  if (const s32 signal = exit_code & 0x7f; signal != 0) {
    while (tell_pending(tgid, signal)) {
    }
  }
  if (!by_own_call) tell_killed(tid, tgid);
  std::erase(killed_, tid);
  std::erase_if(sends_, [&](const Send& send) { return send.tid == tid; });
  std::erase_if(undelivered_, [&](const Undelivered& one) { return one.pid == tid; });
}

}  // namespace skep::hook
