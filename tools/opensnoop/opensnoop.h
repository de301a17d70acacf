/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of opensnoop sends. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct open_event {
  __u64 time_ns;
  __u32 pid, tid, uid;
  __s32 result; /* a descriptor, or minus an error number */
  __u32 flags, mode;
  char comm[16];
  char path[4096]; /* sent as long as it is */
};
