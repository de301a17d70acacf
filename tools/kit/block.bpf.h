/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Block requests from the moment they are accounted, by the task that wants them, over their issue to the device to
 * their completion.
 *
 * The tool defines block_done().
 *
 * Who wants a request is known where it is accounted: block_io_start (Linux 6.5), blk_account_io_start before. Where a
 * kernel has inlined that function, the insertion into the scheduler's queue is the earliest place, and without a
 * scheduler the issue; then work that the kernel does for a task can be shown under the kernel's name.
 */
#ifndef SKEP_TOOL_BLOCK_BPF_H
#define SKEP_TOOL_BLOCK_BPF_H
#include "block.h"
#include "functions.bpf.h"

static __always_inline void block_done(void *ctx, struct block_request *request, u64 now);

enum { REQ_OP_DRV_IN = 34, REQ_OP_DRV_OUT = 35 }; /* include/linux/blk_types.h */

const volatile char wanted_disk[32] = {};

const static struct block_request no_request;
volatile bool is_accounted = false; /* requests are seen where they are accounted */

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 16384);
  __type(key, u64);
  __type(value, struct block_request);
} requests SEC(".maps");

static __always_inline struct gendisk *block_disk(struct request *rq) {
  if (bpf_core_field_exists(struct request_queue, disk)) return BPF_CORE_READ(rq, q, disk);
  return BPF_CORE_READ((struct request___before_5_17 *)rq, rq_disk);
}

static __always_inline bool block_is_wanted_disk(const char *disk) {
  if (!wanted_disk[0]) return true;
  for (u32 i = 0; i < sizeof(wanted_disk); ++i) {
    if (disk[i] != wanted_disk[i]) return false;
    if (!disk[i]) break;
  }
  return true;
}

static __always_inline int block_queued(struct request *rq) {
  u64 key = (u64)rq, id = bpf_get_current_pid_tgid();
  if (!wanted()) return 0;
  struct block_request *request = tool_lookup_or_init(&requests, &key, &no_request);
  if (!request) return 0;
  struct gendisk *disk = block_disk(rq);
  bpf_probe_read_kernel_str(request->disk, sizeof(request->disk), disk ? BPF_CORE_READ(disk, disk_name) : "");
  if (!block_is_wanted_disk(request->disk)) {
    bpf_map_delete_elem(&requests, &key);
    return 0;
  }
  request->major = BPF_CORE_READ(disk, major);
  request->minor = BPF_CORE_READ(disk, first_minor);
  request->flags = BPF_CORE_READ(rq, cmd_flags);
  request->pid = id >> 32;
  bpf_get_current_comm(request->comm, sizeof(request->comm));
  request->queued_ns = bpf_ktime_get_ns();
  request->issued_ns = 0; /* of a request that was merged into another and never completed */
  return 0;
}

static __always_inline int block_accounted(struct request *rq) {
  is_accounted = true;
  return block_queued(rq);
}

SEC("?tp_btf/block_io_start")
int BPF_PROG(queued__io_start, struct request *rq) { return block_accounted(rq); }
TOOL_ENTRY(queued, __blk_account_io_start, block_accounted, (rq), struct request *rq)
TOOL_ENTRY(queued, blk_account_io_start, block_accounted, (rq), struct request *rq)
SEC("?tp_btf/block_rq_insert")
int BPF_PROG(queued__insert, struct request *rq) { return block_queued(rq); }

SEC("?tp_btf/block_rq_issue")
int BPF_PROG(issued, struct request *rq) {
  u64 key = (u64)rq;
  struct block_request *request = bpf_map_lookup_elem(&requests, &key);
  if (!request) {
    u32 operation = BPF_CORE_READ(rq, cmd_flags) & 0xff;
    if (operation == REQ_OP_DRV_IN || operation == REQ_OP_DRV_OUT) return 0; /* commands, not data */
    if (is_accounted && BPF_CORE_READ(rq, part)) return 0; /* not wanted, or begun before we were attached */
    block_queued(rq); /* no scheduler, or a flush of the kernel's own */
    request = bpf_map_lookup_elem(&requests, &key);
    if (!request) return 0;
  }
  request->sector = BPF_CORE_READ(rq, __sector);
  request->bytes = BPF_CORE_READ(rq, __data_len);
  request->issued_ns = bpf_ktime_get_ns();
  return 0;
}

/* Called once for each part of a request that is done; what is left stands in the request. */
SEC("?tp_btf/block_rq_complete")
int BPF_PROG(completed, struct request *rq, int error, u32 bytes) {
  u64 key = (u64)rq;
  struct block_request *request = bpf_map_lookup_elem(&requests, &key);
  if (!request || bytes < BPF_CORE_READ(rq, __data_len)) return 0;
  if (request->issued_ns) block_done(ctx, request, bpf_ktime_get_ns());
  bpf_map_delete_elem(&requests, &key);
  return 0;
}

#endif
