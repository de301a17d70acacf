/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define PIECE_MAX 4096
struct tty_piece {
  __u32 count;
  char bytes[PIECE_MAX]; /* sent as many as count */
};
