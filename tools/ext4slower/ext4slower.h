/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct slow_event {
  __u64 end_ns, duration_ns, offset;
  __s64 result;
  __u32 operation, pid;
  char comm[16];
  char file[256];
};
