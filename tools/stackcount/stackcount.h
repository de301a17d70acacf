/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of stackcount counts. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct stack_count_key {
  __u32 pid; /* 0: of all processes together */
  __s32 user_stack, kernel_stack; /* ids; negative: none */
  char comm[16];
};
