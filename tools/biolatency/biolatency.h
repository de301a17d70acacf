/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What gets a histogram of its own: each disk, each set of flags, or none: all in one. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct latency_key {
  __u32 flags;
  char disk[32];
};
