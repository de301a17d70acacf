/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* In BCC sources: the context of perf event programs, with the pt_regs of bcc.h. */
#ifndef SKEP_BCC_BPF_PERF_EVENT_H
#define SKEP_BCC_BPF_PERF_EVENT_H
struct bpf_perf_event_data {
  SKEP_REGS regs;
  __u64 sample_period;
  __u64 addr;
};
#endif
