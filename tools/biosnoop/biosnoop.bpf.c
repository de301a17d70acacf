// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include "tool.bpf.h"
#include "block.bpf.h"
#include "biosnoop.h"

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 256 << 10);
} events SEC(".maps");

static __always_inline void block_done(void *ctx, struct block_request *request, u64 now) {
  struct block_event event = {.done_ns = now, .request = *request};
  bpf_ringbuf_output(&events, &event, sizeof(event), 0);
}
