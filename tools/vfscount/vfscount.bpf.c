// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Every function whose name begins with vfs_, told apart by where its hook stands: a few bytes behind its beginning.
#include "tool.bpf.h"

const static u64 zero;

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, u64);
  __type(value, u64);
} calls SEC(".maps");

static __always_inline int count(u64 address) {
  u64 *calls_of = tool_lookup_or_init(&calls, &address, &zero);
  if (calls_of && wanted()) __sync_fetch_and_add(calls_of, 1);
  return 0;
}

SEC("?kprobe/vfs_*")
int call(struct pt_regs *ctx) { return count(PT_REGS_IP(ctx)); }
