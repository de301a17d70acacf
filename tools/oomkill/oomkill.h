/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct oom_event {
  __u32 trigger_pid, victim_pid;
  __u64 pages; /* 0: the hook does not tell */
  char trigger[16], victim[16];
};
