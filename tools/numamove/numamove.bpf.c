// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Pages that NUMA balancing moves to the node of the task that used them: one at a time until Linux 6.5, then folios.
#include "tool.bpf.h"
#include "functions.bpf.h"
#include "numamove.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 10240);
  __type(key, u32);
  __type(value, u64);
} begun SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, struct moves);
} moved SEC(".maps");

static __always_inline int on_move(void *ctx) {
  if (!wanted()) return 0;
  u32 tid = bpf_get_current_pid_tgid();
  u64 now = bpf_ktime_get_ns();
  bpf_map_update_elem(&begun, &tid, &now, BPF_ANY);
  return 0;
}

static __always_inline int on_moved(void *ctx, s64 result) {
  u32 tid = bpf_get_current_pid_tgid(), index = 0;
  u64 *since = bpf_map_lookup_elem(&begun, &tid);
  struct moves *moves = bpf_map_lookup_elem(&moved, &index);
  if (!since || !moves) return 0;
  __sync_fetch_and_add(&moves->count, 1);
  __sync_fetch_and_add(&moves->total_ns, bpf_ktime_get_ns() - *since);
  bpf_map_delete_elem(&begun, &tid);
  return 0;
}

TOOL_ENTRY(move, migrate_misplaced_folio, on_move, (ctx))
TOOL_ENTRY(move, migrate_misplaced_page, on_move, (ctx))
TOOL_RETURN(moved_all, migrate_misplaced_folio, on_moved)
TOOL_RETURN(moved_all, migrate_misplaced_page, on_moved)
