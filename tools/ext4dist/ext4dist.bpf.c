// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include "tool.bpf.h"
#include "ext4.bpf.h"

const volatile bool milliseconds = false;

const static struct log2_histogram zero;

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4);
  __type(key, u32);
  __type(value, struct log2_histogram);
} latencies SEC(".maps");

static __always_inline void ext4_done(void *ctx, u32 operation, struct ext4_call *call, s64 result, u64 now) {
  struct log2_histogram *histogram = tool_lookup_or_init(&latencies, &operation, &zero);
  if (histogram) tool_observe(histogram, (now - call->begun_ns) / (milliseconds ? 1000000 : 1000));
}
