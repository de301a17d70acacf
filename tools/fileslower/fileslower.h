/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of fileslower sends. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct slow_io_event {
  __u64 time_ns, spent_ns;
  __s64 bytes;
  __u32 tid;
  __u32 writes;
  __u32 descriptor, reserved;
  char comm[16];
  char name[64];
};
