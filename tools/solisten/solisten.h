/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of solisten sends. */
#include "kit/tool_address.h"

struct listen_event {
  __u64 time_ns;
  __u32 pid;
  __s32 descriptor, backlog, result;
  __u32 network_namespace;
  __u32 protocol;
  struct tool_addresses addresses;
  char comm[16];
};
