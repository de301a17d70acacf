/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of threadsnoop sends. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct thread_event {
  __u64 time_ns, start;
  __u32 pid, reserved;
  char comm[16];
};
