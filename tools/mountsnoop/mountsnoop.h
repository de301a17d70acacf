/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of mountsnoop sends. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct mount_event {
  __u64 time_ns;
  __u64 flags;
  __u32 pid, tid, parent;
  __s32 result;
  __u32 mount_namespace;
  __u32 is_umount;
  char comm[16], parent_comm[16];
  char type[16];
  char source[256], target[256], data[256];
};
