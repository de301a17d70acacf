/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of funcslower sends. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

enum { SLOW_ARGUMENTS = 6, SLOW_FRAMES = 64 };
struct slow_call {
  __u64 time_ns, spent_ns;
  __u64 function; /* its number among those asked for */
  __u64 result;
  __u64 arguments[SLOW_ARGUMENTS];
  __u32 pid, tid;
  char comm[16];
  __s32 user_stack_bytes, kernel_stack_bytes;
  __u64 user_stack[SLOW_FRAMES], kernel_stack[SLOW_FRAMES];
};
