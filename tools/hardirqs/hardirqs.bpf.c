// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
#include "tool.bpf.h"
#include "interrupts.bpf.h"

static __always_inline struct interrupt_key key_of(struct irqaction *action) {
  struct interrupt_key key = {};
  bpf_probe_read_kernel_str(key.name, sizeof(key.name), BPF_CORE_READ(action, name));
  return key;
}

SEC("?tp_btf/irq_handler_entry")
int BPF_PROG(begun, int irq, struct irqaction *action) {
  struct interrupt_key key = key_of(action);
  return interrupt_entered(&key);
}

SEC("?tp_btf/irq_handler_exit")
int BPF_PROG(left, int irq, struct irqaction *action) {
  struct interrupt_key key = key_of(action);
  return interrupt_left(&key);
}
