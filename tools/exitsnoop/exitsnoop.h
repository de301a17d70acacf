/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of exitsnoop sends. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct exit_event {
  __u64 start_ns, end_ns; /* since boot */
  __u32 pid, tid, parent;
  __s32 code; /* as wait(2) gives it: the status in the second byte, the signal in the lower seven bits */
  char comm[16];
};
