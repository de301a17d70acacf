// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// How long functions take: a histogram for each; where a function calls itself, of the outermost calls.
#include "tool.bpf.h"
#include "funclatency/funclatency.h"

const volatile u64 unit_ns = 1;
const volatile bool together = 1;
const volatile u32 levels = 1; /* of calls inside of each other that are timed */

struct running {
  u64 thread;
  u64 function;
};
struct begun {
  u64 depth;
  u64 started_ns[MOST_LEVELS];
};
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 65536);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct running);
  __type(value, struct begun);
} begun_calls SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1); /* the tool makes it as large as it has functions */
  __type(key, u32);
  __type(value, struct latency_totals);
} latencies SEC(".maps");

SEC("?kprobe")
int enter_function(struct pt_regs *ctx) {
  if (!wanted()) return 0;
  struct running key = {bpf_get_current_pid_tgid(), bpf_get_attach_cookie(ctx)};
  struct begun *known = bpf_map_lookup_elem(&begun_calls, &key);
  if (known) {
    u64 depth = ++known->depth;
    if (depth < levels && depth < MOST_LEVELS) known->started_ns[depth] = bpf_ktime_get_ns();
    return 0;
  }
  struct begun begun = {.started_ns = {bpf_ktime_get_ns()}};
  bpf_map_update_elem(&begun_calls, &key, &begun, BPF_ANY);
  return 0;
}

SEC("?kprobe")
int exit_function(struct pt_regs *ctx) {
  struct running key = {bpf_get_current_pid_tgid(), bpf_get_attach_cookie(ctx)};
  struct begun *begun = bpf_map_lookup_elem(&begun_calls, &key);
  if (!begun) return 0;
  u64 depth = begun->depth, started_ns = depth < MOST_LEVELS ? begun->started_ns[depth] : 0;
  if (depth)
    begun->depth--;
  else
    bpf_map_delete_elem(&begun_calls, &key);
  if (depth >= levels || depth >= MOST_LEVELS) return 0;
  u64 spent = bpf_ktime_get_ns() - started_ns;
  u32 index = together ? 0 : key.function;
  struct latency_totals *totals = bpf_map_lookup_elem(&latencies, &index);
  if (!totals) return 0;
  u32 slot = tool_log2(spent / unit_ns);
  if (slot < 64) __sync_fetch_and_add(&totals->slots[slot], 1);
  __sync_fetch_and_add(&totals->total, spent);
  __sync_fetch_and_add(&totals->count, 1);
  return 0;
}
