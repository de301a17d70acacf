/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of memleak keeps. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct allocation_key {
  __u64 address;
  __u64 pid; /* 0: the kernel's own */
};
struct allocation {
  __u64 size, time_ns;
  __s64 stack; /* id; negative: none */
};
