/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of uthreads sends. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

enum { UTHREAD_PTHREAD, UTHREAD_START, UTHREAD_STOP };
struct uthread_event {
  __u64 time_ns;
  __u64 runtime_id; /* pthread: the function that the thread begins with */
  __u64 native_id;
  __u32 pid, kind;
  char name[80];
};
