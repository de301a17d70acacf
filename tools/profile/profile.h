/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define PROFILE_TASKS 16
struct wanted_tasks {
  __u32 pids[PROFILE_TASKS], tids[PROFILE_TASKS]; /* ended by 0; none: any */
};
