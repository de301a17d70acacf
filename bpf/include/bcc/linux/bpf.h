/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * <linux/bpf.h> in a BCC source. bcc.h has defined a few of its names already, to stay small; they are
 * renamed while the system's header is read, so that the two do not collide.
 */
#ifndef SKEP_BCC_LINUX_BPF_H
#define SKEP_BCC_LINUX_BPF_H
#ifdef SKEP_OWN_UAPI
#define BPF_ANY skep_BPF_ANY
#define BPF_NOEXIST skep_BPF_NOEXIST
#define BPF_EXIST skep_BPF_EXIST
#define BPF_F_LOCK skep_BPF_F_LOCK
#define BPF_F_NO_PREALLOC skep_BPF_F_NO_PREALLOC
#define BPF_F_NO_COMMON_LRU skep_BPF_F_NO_COMMON_LRU
#define BPF_F_SKIP_FIELD_MASK skep_BPF_F_SKIP_FIELD_MASK
#define BPF_F_USER_STACK skep_BPF_F_USER_STACK
#define BPF_F_FAST_STACK_CMP skep_BPF_F_FAST_STACK_CMP
#define BPF_F_REUSE_STACKID skep_BPF_F_REUSE_STACKID
#define BPF_F_INDEX_MASK skep_BPF_F_INDEX_MASK
#define BPF_F_CURRENT_CPU skep_BPF_F_CURRENT_CPU
#define BPF_RB_NO_WAKEUP skep_BPF_RB_NO_WAKEUP
#define BPF_RB_FORCE_WAKEUP skep_BPF_RB_FORCE_WAKEUP
#define BPF_RB_AVAIL_DATA skep_BPF_RB_AVAIL_DATA
#define BPF_RB_RING_SIZE skep_BPF_RB_RING_SIZE
#define BPF_RB_CONS_POS skep_BPF_RB_CONS_POS
#define BPF_RB_PROD_POS skep_BPF_RB_PROD_POS
#define bpf_raw_tracepoint_args skep_bpf_raw_tracepoint_args
#define bpf_perf_event_value skep_bpf_perf_event_value
#define bpf_pidns_info skep_bpf_pidns_info
#endif
#include_next <linux/bpf.h>
#ifdef SKEP_OWN_UAPI
#undef BPF_ANY
#undef BPF_NOEXIST
#undef BPF_EXIST
#undef BPF_F_LOCK
#undef BPF_F_NO_PREALLOC
#undef BPF_F_NO_COMMON_LRU
#undef BPF_F_SKIP_FIELD_MASK
#undef BPF_F_USER_STACK
#undef BPF_F_FAST_STACK_CMP
#undef BPF_F_REUSE_STACKID
#undef BPF_F_INDEX_MASK
#undef BPF_F_CURRENT_CPU
#undef BPF_RB_NO_WAKEUP
#undef BPF_RB_FORCE_WAKEUP
#undef BPF_RB_AVAIL_DATA
#undef BPF_RB_RING_SIZE
#undef BPF_RB_CONS_POS
#undef BPF_RB_PROD_POS
#undef bpf_raw_tracepoint_args
#undef bpf_perf_event_value
#undef bpf_pidns_info
#endif
#endif
