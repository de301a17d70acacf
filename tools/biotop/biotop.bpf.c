// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include "tool.bpf.h"
#include "block.bpf.h"
#include "biotop.h"

const static struct usage zero;

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 10240);
  __type(key, struct usage_key);
  __type(value, struct usage);
} usages SEC(".maps");

static __always_inline void block_done(void *ctx, struct block_request *request, u64 now) {
  struct usage_key key = {.pid = request->pid, .major = request->major, .minor = request->minor};
  key.is_write = request->flags & 1; /* include/linux/blk_types.h: operations that send data are odd */
  __builtin_memcpy(key.comm, request->comm, sizeof(key.comm));
  __builtin_memcpy(key.disk, request->disk, sizeof(key.disk));
  struct usage *usage = tool_lookup_or_init(&usages, &key, &zero);
  if (!usage) return;
  __sync_fetch_and_add(&usage->bytes, request->bytes);
  __sync_fetch_and_add(&usage->requests, 1);
  __sync_fetch_and_add(&usage->total_ns, now - request->issued_ns);
}
