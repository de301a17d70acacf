// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include "tool_tcp.bpf.h"

/* The user engine counts bytes where the calls that move them end; the kernel's sockets count themselves. */
TOOL_USER_TRANSFER(read, false)
TOOL_USER_TRANSFER(readv, false)
TOOL_USER_TRANSFER(recvfrom, false)
TOOL_USER_TRANSFER(recvmsg, false)
TOOL_USER_TRANSFER(write, true)
TOOL_USER_TRANSFER(writev, true)
TOOL_USER_TRANSFER(sendto, true)
TOOL_USER_TRANSFER(sendmsg, true)
