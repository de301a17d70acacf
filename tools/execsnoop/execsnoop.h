/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of execsnoop sends. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

enum { EXEC_ARGUMENT_BYTES = 512, EXEC_TEXT_BYTES = 16384, EXEC_MOST_ARGUMENTS = 60 };
struct exec_event {
  __u64 time_ns;
  __u32 pid, parent, uid;
  __s32 result;     /* 0, or minus an error number */
  __u32 count;      /* arguments in `text` */
  __u32 truncated;  /* there were more, or longer ones */
  char comm[16];
  __u32 bytes;      /* of `text` */
  char text[EXEC_TEXT_BYTES]; /* arguments, each with a zero behind it; sent as long as it is */
};
