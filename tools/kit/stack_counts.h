/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Where a task was: what offcputime and profile count. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct stack_key {
  __u32 pid, tid;
  __s32 kernel, user; /* ids in `stacks`, or minus an error number */
  char comm[16];
};
#define STACK_FRAMES 127
