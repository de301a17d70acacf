/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What gets a histogram of its own. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

enum { ONE_FOR_ALL, ONE_FOR_PROCESS, ONE_FOR_THREAD };
struct task_key {
  __u32 tid, idle_cpu;
};
