/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

enum { TIME_TO_ACQUIRE, TIME_HELD };
struct lock_key {
  __s32 stack; /* id in `stacks`, or minus an error number */
  __u32 what;  /* TIME_TO_ACQUIRE or TIME_HELD */
};
struct lock_times {
  __u64 count, total_ns, most_ns;
};
