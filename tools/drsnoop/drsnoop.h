/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct reclaim_event {
  __u64 begun_ns, duration_ns, pages;
  __u32 pid, uid;
  char comm[16];
};
