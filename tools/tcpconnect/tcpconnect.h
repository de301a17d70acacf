/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What tcpconnect's program sends besides connections: answers to queries for names, in the same ring and so in order. */
#ifndef SKEP_TCPCONNECT_H
#define SKEP_TCPCONNECT_H
#include "kit/tool_tcp.h"

#define TCP_EVENT_NAMES 0x100 /* a kind of its own */
#define NAMES_MOST_BYTES 4096 /* of an answer; servers send at most what the query allows, 1232 as a rule */

struct names_event {
  struct tcp_event head; /* time and kind alone */
  __u8 message[NAMES_MOST_BYTES]; /* sent as long as it is */
};
#endif
