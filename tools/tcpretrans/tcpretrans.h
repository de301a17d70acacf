/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of tcpretrans sends. */
#include "kit/tool_address.h"

struct retransmit_event {
  __u64 time_ns;
  __u32 pid;
  __u32 state;
  __u32 sequence;
  __u32 is_probe; /* a tail loss probe, not a retransmission */
  struct tool_addresses addresses;
};
