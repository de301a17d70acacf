/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * In BCC sources this header is included for TASK_COMM_LEN (bcc.h has it) and for struct task_struct, which
 * may be pointed at; its members are reached with vmlinux.h and BPF_CORE_READ in a libbpf-style program.
 */
#ifndef SKEP_BCC_SCHED_H
#define SKEP_BCC_SCHED_H
struct task_struct;
#endif
