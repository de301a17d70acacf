// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#define TOOL_CONTAINERS
#include "tool_tcp.bpf.h"
