/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* In BCC sources: struct pt_regs, which bcc.h has brought already. */
#include <skep/pt_regs.h>
