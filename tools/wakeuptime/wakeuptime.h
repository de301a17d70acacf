/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct wakeup_key {
  __s32 stack; /* of the waker, in the kernel; or minus an error number */
  char waker[16], target[16];
};
