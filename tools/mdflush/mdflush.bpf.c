// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include "tool.bpf.h"
#include "functions.bpf.h"
#include "mdflush.h"

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 64 << 10);
} events SEC(".maps");

struct bio___before_5_12 {
  struct gendisk *bi_disk;
} __attribute__((preserve_access_index));

static __always_inline struct gendisk *disk_of(struct bio *bio) {
  if (bpf_core_field_exists(bio->bi_bdev)) return BPF_CORE_READ(bio, bi_bdev, bd_disk);
  return BPF_CORE_READ((struct bio___before_5_12 *)bio, bi_disk);
}

/* The device is the array, which its own structure names: the flush comes from a bio of it. */
static __always_inline int on_flush(void *ctx, struct bio *bio) {
  if (!wanted()) return 0;
  struct flush_event event = {.pid = bpf_get_current_pid_tgid() >> 32};
  bpf_get_current_comm(event.comm, sizeof(event.comm));
  bpf_probe_read_kernel_str(event.disk, sizeof(event.disk), BPF_CORE_READ(disk_of(bio), disk_name));
  bpf_ringbuf_output(&events, &event, sizeof(event), 0);
  return 0;
}
TOOL_ENTRY(flush, md_flush_request, on_flush, (ctx, bio), void *array, struct bio *bio)
