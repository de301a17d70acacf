/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* A request to a block device on its way, as biolatency, biosnoop and biotop follow it. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct block_request {
  __u64 queued_ns, issued_ns; /* 0: not seen */
  __u64 sector;
  __u32 bytes, flags; /* flags: enum req_op in the low 8 bits, enum req_flag_bits above */
  __u32 pid, major, minor;
  char comm[16];
  char disk[32];
};
