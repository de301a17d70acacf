/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of syscount counts, by number or process. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct call_count {
  __u64 count, total_ns;
  char comm[16];
};
