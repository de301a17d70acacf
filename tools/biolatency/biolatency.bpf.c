// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// The time from a request's issue to the device, or from its being wanted, to its completion.
#include "tool.bpf.h"
#include "block.bpf.h"
#include "biolatency.h"

const volatile bool with_queue_time = false;
const volatile bool milliseconds = false;
const volatile bool each_disk = false;
const volatile bool each_flags = false;

const static struct log2_histogram zero;

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 1024);
  __type(key, struct latency_key);
  __type(value, struct log2_histogram);
} latencies SEC(".maps");

static __always_inline void block_done(void *ctx, struct block_request *request, u64 now) {
  struct latency_key key = {};
  if (each_disk) __builtin_memcpy(key.disk, request->disk, sizeof(key.disk));
  if (each_flags) key.flags = request->flags;
  s64 latency = now - (with_queue_time && request->queued_ns ? request->queued_ns : request->issued_ns);
  struct log2_histogram *histogram = tool_lookup_or_init(&latencies, &key, &zero);
  if (histogram && latency >= 0) tool_observe(histogram, (u64)latency / (milliseconds ? 1000000 : 1000));
}
