/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of sslsniff sends. */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

enum { SSL_MOST_BYTES = 8192 };
struct ssl_event {
  __u64 time_ns, spent_ns;
  __u32 pid, tid, uid;
  __u32 kind; /* 0 read, 1 write, 2 handshake */
  __s32 length; /* bytes that the call moved */
  __u32 bytes;  /* of them in `data` */
  char comm[16];
  char data[SSL_MOST_BYTES]; /* sent as long as it is */
};
