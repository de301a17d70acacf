// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Counts hits by the number that each attachment was given.
#include "tool.bpf.h"

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1); /* the tool makes it as large as it has probes */
  __type(key, u32);
  __type(value, u64);
} counts SEC(".maps");

const volatile s32 wanted_cpu = -1;

static __always_inline int count(void *ctx) {
  if (!wanted() || (wanted_cpu >= 0 && bpf_get_smp_processor_id() != wanted_cpu)) return 0;
  u32 index = bpf_get_attach_cookie(ctx);
  u64 *count = bpf_map_lookup_elem(&counts, &index);
  if (count) ++*count;
  return 0;
}

SEC("?kprobe")
int count_function(struct pt_regs *ctx) { return count(ctx); }
SEC("?tracepoint")
int count_tracepoint(void *ctx) { return count(ctx); }
