/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What happens to TCP connections, as tool_tcp.bpf.h sends it. */
#ifndef SKEP_TOOL_TCP_H
#define SKEP_TOOL_TCP_H
#include "tool_address.h"

enum tcp_event_kind {
  TCP_EVENT_ATTEMPT = 1, /* connect() was called: the request is on its way, or was refused */
  TCP_EVENT_CONNECT = 2, /* ... and the connection is there */
  TCP_EVENT_ACCEPT = 4,
  TCP_EVENT_CLOSE = 8, /* this side closes */
  TCP_EVENT_END = 16,  /* the connection is gone; bytes and duration are final */
};

struct tcp_event {
  __u64 time_ns;
  __u64 duration_ns;
  __u64 received, sent; /* bytes */
  __u32 kind;
  __u32 pid, uid;
  __u32 network_namespace; /* user engine: of an attempt by a socket that is bound to no device, else 0 */
  __s32 descriptor;        /* user engine: of the process; -1: none */
  __s32 result;            /* of connect() */
  struct tool_addresses addresses;
  char comm[16];
};
#endif
