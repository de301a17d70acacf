/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of statsnoop sends. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct stat_event {
  __u64 time_ns;
  __u32 pid;
  __s32 result; /* 0, or minus an error number */
  char comm[16];
  char path[4096]; /* sent as long as it is */
};
