/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct cache_user {
  __u32 pid, tid, cpu;
  char comm[16];
};
struct cache_samples {
  __u64 references, misses;
};
