/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the programs of hardirqs and softirqs gather. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct interrupt_key {
  char name[32];
};
struct interrupt_time {
  __u64 count, total_ns;
  __u64 slots[64]; /* as log2_histogram */
};
