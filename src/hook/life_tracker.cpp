// See life_tracker.hpp.
#include "hook/life_tracker.hpp"

#include <elf.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdio>
#include <cstring>

#include "hook/proc_file.hpp"
#include "hook/ptrace_errors.hpp"

namespace skep::hook {
namespace {

/// Reads page by page up to the terminator; what cannot be read ends it.
std::string_view read_path(u32 tid, u64 address, std::array<char, 4096>& to) noexcept {
  constexpr u64 page = 4096;
  std::size_t done = 0;
  while (address != 0 && done < to.size()) {
    const std::size_t piece = std::min<std::size_t>(to.size() - done, page - (address + done) % page);
    const iovec local{to.data() + done, piece}, remote{reinterpret_cast<void*>(address + done), piece};  // NOLINT
    const ssize_t got = ::process_vm_readv(static_cast<pid_t>(tid), &local, 1, &remote, 1, 0);
    if (got <= 0) break;
    if (const void* end = std::memchr(to.data() + done, 0, static_cast<std::size_t>(got)); end != nullptr)
      return {to.data(), static_cast<std::size_t>(static_cast<const char*>(end) - to.data())};
    done += static_cast<std::size_t>(got);
  }
  return {to.data(), std::min(done, to.size() - 1)};
}

}  // namespace

int LifeTracker::ptrace_options() const noexcept {
  return interest_.exit || interest_.signals() ? PTRACE_O_TRACEEXIT : 0;
}

void LifeTracker::execed(u32 tid, u32 former) {
  if (former != tid) told_.erase(former);  // a thread that took its leader's id
  release_orphans(tid, tid, true);         // the other threads of its process are gone
  if (!interest_.exec) return;
  LifeEvent event;
  event.kind = LifeKind::exec;
  event.subject = tid;
  event.old_pid = former != 0 ? former : tid;
  event.filename = read_path(tid, auxiliary_value(tid, AT_EXECFN), path_);
  read_comm(tid, event.comm);
  emitter_.emit_life(tid, tid, event);
}

void LifeTracker::known(u32 tid) {
  if (orders_births()) told_.insert(tid);
}

void LifeTracker::tell_birth(u32 tid, u32 tgid, u32 child) {
  told_.insert(child);
  if (!interest_.fork) return;
  LifeEvent event;
  event.kind = LifeKind::fork;
  event.subject = child;
  read_comm(tid, event.comm);
  emitter_.emit_life(tid, tgid, event);
}

bool LifeTracker::may_begin(u32 child, int first_stop) {
  if (!orders_births() || announced_.erase(child) != 0) return true;
  const auto place = std::ranges::find(held_, 0u, &Held::child);
  if (place == held_.end()) return true;
  place->stop = first_stop;
  place->child = child;
  return false;
}

void LifeTracker::release(Held& held) {
  *std::ranges::find(released_, 0u, &Held::child) = held;  // as many places as can be held, and all are free
  std::atomic_signal_fence(std::memory_order_seq_cst);
  held.child = 0;
}

void LifeTracker::forked(u32 tid, u32 tgid, u32 child) {
  if (!orders_births() || child == 0 || told_by_death_.erase(child) != 0) return;
  tell_birth(tid, tgid, child);
  if (const auto at = std::ranges::find(held_, child, &Held::child); at != held_.end())
    release(*at);
  else
    announced_.insert(child);
}

void LifeTracker::tell_by_death(u32 tid, u32 tgid, u32 child) {
  if (told_.contains(child)) return;
  forked(tid, tgid, child);
  told_by_death_[child] = tgid;
}

/// A task that ends before anybody has told of it: its maker's report was lost or is yet to come.
void LifeTracker::tell_own_birth(u32 tid, u32 tgid) {
  if (told_.contains(tid)) return;
  if (const auto at = std::ranges::find(held_, tid, &Held::child); at != held_.end())
    at->child = 0;  // it left its stop to end
  u32 maker = tgid;
  if (tid == tgid) {
    char text[4096];
    const std::string_view status = read_proc(tid, "status", text, sizeof text);
    maker = static_cast<u32>(status_number(status, "\nPPid:").value_or(tid));
    if (!emitter_.is_traced(maker)) maker = tid;  // an orphan
  }
  tell_birth(maker, maker, tid);
  told_by_death_[tid] = maker;
}

/// What is killed may not report the tasks it made. Threads: once for a process, for one that is being killed makes
/// none.
void LifeTracker::tell_unreported_births(u32 tid, u32 tgid) {
  if (last_killed_ != tgid) {
    last_killed_ = tgid;
    for (const int thread : threads_of(static_cast<int>(tgid)).value_or(std::vector<int>()))
      tell_by_death(tid, tgid, static_cast<u32>(thread));
  }
  char file[48], text[4096];
  std::snprintf(file, sizeof file, "task/%u/children", tid);
  const std::string_view children = read_proc(tid, file, text, sizeof text);
  const char* from = children.data();
  const char* const end = children.data() + children.size();
  for (u32 child = 0; from < end; from += *from == ' ') {
    const auto parsed = std::from_chars(from, end, child);
    if (parsed.ec != std::errc()) return;
    from = parsed.ptr;
    // Those that have ended are listed until their parent has waited for them; we have, and trace them no more.
    if (tracer_of(static_cast<int>(child)) != 0) tell_by_death(tid, tgid, child);
  }
}

void LifeTracker::exiting(u32 tid, u32 tgid, bool group_dead, s32 exit_code, bool by_own_call) {
  if (orders_births()) tell_own_birth(tid, tgid);
  if (orders_births() && !by_own_call) tell_unreported_births(tid, tgid);
  if (interest_.signals()) signals_.ending(tid, tgid, exit_code, by_own_call);
  if (!interest_.exit) return;
  LifeEvent event;
  event.kind = LifeKind::exit;
  event.subject = tid;
  event.exit_code = exit_code;
  event.group_dead = group_dead;
  read_comm(tid, event.comm);
  // task_prio() shows the kernel's number less 100.
  constexpr s32 first_normal = 100, usual = 120;
  char text[1024];
  const auto shown = stat_number(read_proc(tid, "stat", text, sizeof text), 18);
  event.priority = shown ? static_cast<s32>(*shown) + first_normal : usual;
  emitter_.emit_life(tid, tgid, event);
}

void LifeTracker::ended(u32 tid, u32 tgid, bool seen, bool group_dead, s32 exit_code) {
  // A task whose end had no stop was killed before or in it: what calls exit undisturbed stops. Where nobody asked for
  // those stops, an end says nothing of the rest of its process.
  if (!seen) {
    release_orphans(tid, tgid, group_dead);  // what it made is told before its end
    exiting(tid, tgid, group_dead, exit_code, ptrace_options() == 0);
  }
  announced_.erase(tid);
  told_.erase(tid);
  // A maker that has ended reports nothing any more; the ids of what it made may come again.
  if (group_dead) std::erase_if(told_by_death_, [&](const auto& each) { return each.second == tgid; });
  if (group_dead && last_killed_ == tgid) last_killed_ = 0;
  if (const auto at = std::ranges::find(held_, tid, &Held::child); at != held_.end()) at->child = 0;
  release_orphans(tid, tgid, group_dead);
}

/// Did it die between making a child and reporting it? A process that lives on may have made it by another thread,
/// which then reports it.
void LifeTracker::release_orphans(u32 tid, u32 tgid, bool group_dead) {
  for (Held& held : held_) {
    if (held.child == 0) continue;
    char text[4096];
    const std::string_view status = read_proc(held.child, "status", text, sizeof text);
    const u64 own_group = status_number(status, "\nTgid:").value_or(0);
    const bool is_thread = own_group != held.child;
    // An orphan has been given to another process by now: for a process, any end may be its maker's.
    const u64 parent = is_thread ? own_group : status_number(status, "\nPPid:").value_or(0);
    if (parent == tgid ? !group_dead : is_thread || emitter_.is_traced(static_cast<u32>(parent))) continue;
    tell_birth(tid, tgid, held.child);
    if (!group_dead) told_by_death_[held.child] = tgid;
    release(held);
  }
}

void LifeTracker::release_strays() {
  for (Held& held : held_) {
    if (held.child == 0) continue;
    char text[4096];
    const std::string_view status = read_proc(held.child, "status", text, sizeof text);
    // A thread ends with its process, so it cannot be left alone.
    const bool is_thread = status_number(status, "\nTgid:").value_or(0) != held.child;
    if (is_thread || emitter_.is_traced(static_cast<u32>(status_number(status, "\nPPid:").value_or(0)))) continue;
    tell_birth(held.child, held.child, held.child);
    told_by_death_[held.child] = held.child;
    release(held);
  }
}

}  // namespace skep::hook
