/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define LENGTHS 64
struct queue_lengths {
  __u64 samples[LENGTHS]; /* the last: so many and more */
};
