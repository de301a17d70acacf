/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define UNKNOWN 2
struct capable_event {
  __u32 pid, tid, uid;
  __s32 capability;
  __s32 kernel_stack, user_stack; /* below 0: none */
  __u8 audit, in_set_id;          /* 0, 1 or UNKNOWN */
  char comm[16];
};
