/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of tcpdrop sends. */
#include "kit/tool_address.h"

enum { DROP_FRAMES = 32 };
struct drop_event {
  __u64 time_ns;
  __u32 pid;
  __u32 state;
  __u32 flags; /* of the TCP header */
  __s32 reason; /* enum skb_drop_reason; -1: the kernel does not tell */
  struct tool_addresses addresses;
  __s32 stack_bytes;
  __u32 reserved;
  __u64 stack[DROP_FRAMES];
};
