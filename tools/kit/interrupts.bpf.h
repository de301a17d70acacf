/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Times of interrupts' handlers, for hardirqs and softirqs. A CPU is in one handler of a kind at a time. */
#ifndef SKEP_TOOL_INTERRUPTS_BPF_H
#define SKEP_TOOL_INTERRUPTS_BPF_H
#include "interrupts.h"

const volatile bool only_count = false;
const volatile bool nanoseconds = false; /* of the histograms */
const volatile s32 wanted_cpu = -1;

const static struct interrupt_time zero;

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, u64);
} entered SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 4096);
  __type(key, struct interrupt_key);
  __type(value, struct interrupt_time);
} interrupts SEC(".maps");

static __always_inline int interrupt_entered(const struct interrupt_key *key) {
  if (wanted_cpu >= 0 && bpf_get_smp_processor_id() != wanted_cpu) return 0;
  if (only_count) {
    struct interrupt_time *time = tool_lookup_or_init(&interrupts, key, &zero);
    if (time) __sync_fetch_and_add(&time->count, 1);
    return 0;
  }
  u32 index = 0;
  u64 now = bpf_ktime_get_ns();
  bpf_map_update_elem(&entered, &index, &now, BPF_ANY);
  return 0;
}

static __always_inline int interrupt_left(const struct interrupt_key *key) {
  u32 index = 0;
  u64 *begun = bpf_map_lookup_elem(&entered, &index);
  if (!begun || !*begun) return 0; /* not wanted, or begun before we were attached */
  s64 duration = bpf_ktime_get_ns() - *begun;
  *begun = 0;
  struct interrupt_time *time = tool_lookup_or_init(&interrupts, key, &zero);
  if (!time || duration < 0) return 0;
  __sync_fetch_and_add(&time->count, 1);
  __sync_fetch_and_add(&time->total_ns, duration);
  u32 slot = tool_log2(nanoseconds ? duration : duration / 1000);
  if (slot < TOOL_SLOTS) __sync_fetch_and_add(&time->slots[slot], 1);
  return 0;
}

#endif
