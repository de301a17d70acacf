/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct page_counts {
  __u64 accessed, added, dirtied, buffers_dirtied;
};
