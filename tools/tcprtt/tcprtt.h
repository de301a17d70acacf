/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the program of tcprtt counts. */
#include "kit/tool_address.h"

struct rtt_key {
  __u16 family; /* 0: of all addresses together */
  __u8 address[16];
};
struct rtt_totals {
  __u64 slots[64];
  __u64 total, count;
};
