/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of killsnoop sends. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct kill_event {
  __u64 time_ns;
  __u32 pid, uid;
  __s32 target, signal, result;
  char comm[16];
};
