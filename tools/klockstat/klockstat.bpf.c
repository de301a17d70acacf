// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Mutexes: how long tasks wait for them and hold them, counted for the place that takes them. Without hooks on
// functions, the kernel's tracepoints of contention tell the waits of all kinds of locks, but not how long one is held.
#include "tool.bpf.h"
#include "functions.bpf.h"
#include "stack_counts.bpf.h"
#include "klockstat.h"

const static struct lock_times zero;

struct lock_use {
  u32 tid, pad;
  u64 lock;
};
struct lock_state {
  u64 asked_ns, acquired_ns;
  s32 stack;
  u32 pad;
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 65536);
  __type(key, struct lock_use);
  __type(value, struct lock_state);
} uses SEC(".maps");

/* The lock that a task waits for: the end of the function does not tell. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 65536);
  __type(key, u32);
  __type(value, u64);
} waits SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 16384);
  __type(key, struct lock_key);
  __type(value, struct lock_times);
} times SEC(".maps");

static __always_inline void add(s32 stack, u32 what, s64 time_ns) {
  struct lock_key key = {stack, what};
  struct lock_times *all = time_ns < 0 ? NULL : tool_lookup_or_init(&times, &key, &zero);
  if (!all) return;
  __sync_fetch_and_add(&all->count, 1);
  __sync_fetch_and_add(&all->total_ns, time_ns);
  if (all->most_ns < time_ns) all->most_ns = time_ns; /* two at once may lose the larger: it is a hint */
}

static __always_inline int on_lock(void *ctx, u64 lock) {
  if (!wanted()) return 0;
  struct lock_use use = {.tid = bpf_get_current_pid_tgid(), .lock = lock};
  struct lock_state state = {.asked_ns = bpf_ktime_get_ns(), .stack = bpf_get_stackid(ctx, &stacks, 0)};
  bpf_map_update_elem(&uses, &use, &state, BPF_ANY);
  bpf_map_update_elem(&waits, &use.tid, &lock, BPF_ANY);
  return 0;
}

static __always_inline int on_locked(void *ctx, s64 result) {
  struct lock_use use = {.tid = bpf_get_current_pid_tgid()};
  u64 *lock = bpf_map_lookup_elem(&waits, &use.tid);
  if (!lock) return 0;
  use.lock = *lock;
  bpf_map_delete_elem(&waits, &use.tid);
  struct lock_state *state = bpf_map_lookup_elem(&uses, &use);
  if (!state) return 0;
  state->acquired_ns = bpf_ktime_get_ns();
  add(state->stack, TIME_TO_ACQUIRE, state->acquired_ns - state->asked_ns);
  return 0;
}

static __always_inline int on_unlock(void *ctx, u64 lock) {
  struct lock_use use = {.tid = bpf_get_current_pid_tgid(), .lock = lock};
  struct lock_state *state = bpf_map_lookup_elem(&uses, &use);
  if (!state) return 0;
  if (state->acquired_ns) add(state->stack, TIME_HELD, bpf_ktime_get_ns() - state->acquired_ns);
  bpf_map_delete_elem(&uses, &use);
  return 0;
}

TOOL_ENTRY(lock, mutex_lock_nested, on_lock, (ctx, (u64)lock), void *lock)
TOOL_ENTRY(lock, mutex_lock, on_lock, (ctx, (u64)lock), void *lock)
SEC("?tp_btf/contention_begin")
int BPF_PROG(lock__contention, void *lock) { return on_lock(ctx, (u64)lock); }

TOOL_RETURN(locked, mutex_lock_nested, on_locked)
TOOL_RETURN(locked, mutex_lock, on_locked)
SEC("?tp_btf/contention_end")
int BPF_PROG(locked__contention, void *lock) {
  struct lock_use use = {.tid = bpf_get_current_pid_tgid(), .lock = (u64)lock};
  on_locked(ctx, 0);
  bpf_map_delete_elem(&uses, &use);
  return 0;
}

TOOL_ENTRY(maybe_unlock, mutex_unlock, on_unlock, (ctx, (u64)lock), void *lock)
