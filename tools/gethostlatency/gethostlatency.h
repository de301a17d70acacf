/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of gethostlatency sends. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct lookup_event {
  __u64 time_ns, spent_ns;
  __u32 pid, reserved;
  char comm[16];
  char host[80];
};
