// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include "tool.bpf.h"
#include "interrupts.bpf.h"

/* include/linux/interrupt.h: HI_SOFTIRQ and those that follow it. */
static const struct interrupt_key names[] = {
    {"hi"}, {"timer"}, {"net_tx"}, {"net_rx"}, {"block"}, {"irq_poll"}, {"tasklet"}, {"sched"}, {"hrtimer"}, {"rcu"},
};
#define VECTORS (sizeof(names) / sizeof(names[0]))

SEC("?tp_btf/softirq_entry")
int BPF_PROG(begun, u32 vector) {
  return vector < VECTORS ? interrupt_entered(&names[vector]) : 0;
}

SEC("?tp_btf/softirq_exit")
int BPF_PROG(left, u32 vector) {
  return vector < VECTORS ? interrupt_left(&names[vector]) : 0;
}
