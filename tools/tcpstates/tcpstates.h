/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of tcpstates sends. */
#include "kit/tool_address.h"

struct state_event {
  __u64 time_ns, spent_ns; /* how long the old state lasted; 0: since before we looked */
  __u64 socket;
  __u32 pid;
  __s32 from, to;
  __u32 reserved;
  struct tool_addresses addresses;
  char comm[16];
};
