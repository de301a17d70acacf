/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of ucalls counts. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

enum { METHOD_TEXT = 80 };
struct method_key {
  char class_name[METHOD_TEXT]; /* or the file; empty where the language has none */
  char method[METHOD_TEXT];
};
struct calls_total {
  __u64 count, total_ns;
  __u64 untimed; /* calls of which only the return was told */
};
