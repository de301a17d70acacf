/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct usage_key {
  __u32 pid, major, minor, is_write;
  char comm[16];
  char disk[32];
};
struct usage {
  __u64 bytes, requests, total_ns;
};
