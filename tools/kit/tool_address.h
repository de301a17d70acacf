/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Both ends of a connection, as programs send them. Ports in host order, addresses as on the wire. */
#ifndef SKEP_TOOL_ADDRESS_H
#define SKEP_TOOL_ADDRESS_H
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

struct tool_addresses {
  __u16 family; /* AF_INET, AF_INET6 */
  __u16 local_port, remote_port;
  __u16 reserved;
  __u8 local[16], remote[16]; /* IPv4 in the first four */
};
#endif
