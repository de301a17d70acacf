/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of tcptop counts. */
#include "kit/tool_address.h"

struct traffic_key {
  __u32 pid;
  char comm[16];
  struct tool_addresses addresses;
};
struct traffic {
  __u64 sent, received; /* bytes */
};
