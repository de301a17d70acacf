/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of bindsnoop sends. */
#include "kit/tool_address.h"

struct bind_event {
  __u64 time_ns;
  __u32 pid, uid;
  __s32 result;
  __u32 protocol, device;
  __u32 options; /* bits: FREEBIND, TRANSPARENT, BIND_ADDRESS_NO_PORT, REUSEADDR, REUSEPORT */
  struct tool_addresses addresses;
  char comm[16];
};
