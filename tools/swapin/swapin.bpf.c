// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Pages read back from swap, by the process that needs them. The function had another name until Linux 6.7.
#include "tool.bpf.h"
#include "functions.bpf.h"
#include "swapin.h"

const static u64 zero;

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 10240);
  __type(key, struct task_name);
  __type(value, u64);
} swapins SEC(".maps");

static __always_inline int on_read(void *ctx) {
  if (!wanted()) return 0;
  struct task_name key = {.pid = bpf_get_current_pid_tgid() >> 32};
  bpf_get_current_comm(key.comm, sizeof(key.comm));
  u64 *count = tool_lookup_or_init(&swapins, &key, &zero);
  if (count) __sync_fetch_and_add(count, 1);
  return 0;
}

TOOL_ENTRY(read, swap_read_folio, on_read, (ctx))
TOOL_ENTRY(read, swap_readpage, on_read, (ctx))
