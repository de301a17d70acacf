/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of bashreadline sends. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct line_event {
  __u32 pid, reserved;
  char line[256];
};
