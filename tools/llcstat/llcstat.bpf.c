// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// The CPU's counters of last-level cache references and misses call once in so many of them; the tool
// multiplies.
#include "tool.bpf.h"
#include "llcstat.h"

const volatile bool each_thread = false;

const static struct cache_samples zero;

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 10240);
  __type(key, struct cache_user);
  __type(value, struct cache_samples);
} users SEC(".maps");

static __always_inline struct cache_samples *samples(void) {
  u64 id = bpf_get_current_pid_tgid();
  struct cache_user user = {.pid = id >> 32, .tid = each_thread ? (u32)id : 0, .cpu = bpf_get_smp_processor_id()};
  bpf_get_current_comm(user.comm, sizeof(user.comm));
  return wanted() ? tool_lookup_or_init(&users, &user, &zero) : NULL;
}

SEC("?perf_event")
int on_reference(void *ctx) {
  struct cache_samples *all = samples();
  if (all) __sync_fetch_and_add(&all->references, 1);
  return 0;
}

SEC("?perf_event")
int on_miss(void *ctx) {
  struct cache_samples *all = samples();
  if (all) __sync_fetch_and_add(&all->misses, 1);
  return 0;
}
