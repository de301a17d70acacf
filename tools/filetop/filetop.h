/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of filetop counts, by thread and file. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct file_key {
  __u64 device, inode;
  __u32 pid, tid;
  __u32 descriptor; /* where nothing else tells files apart */
  __u32 type;       /* 'R'egular, 'S'ocket, 'O'ther */
  char name[64];
};
struct file_totals {
  __u64 reads, writes, read_bytes, written_bytes;
  char comm[16];
};
