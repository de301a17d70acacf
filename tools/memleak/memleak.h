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

/* With --combined-only: what stacks have outstanding, counted by the program. */
struct combined_key {
  __s64 stack;
  __u64 pid;
};
struct combined {
  __u64 bytes, count;
};

/* With -t: calls as they come. */
enum memory_call_kind { MEMORY_ASKED, MEMORY_GIVEN, MEMORY_FREED };
struct memory_call {
  __u64 time_ns;
  __u64 size, address;
  __u32 kind, pid, tid;
  char comm[16];
};
