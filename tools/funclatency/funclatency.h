/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of funclatency counts, by function. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct latency_totals {
  __u64 slots[64];
  __u64 total, count;
};

#define MOST_LEVELS 16
