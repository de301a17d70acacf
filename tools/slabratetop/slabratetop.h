/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct cache_key {
  char name[32];
};
struct cache_use {
  __u64 count, bytes;
};
