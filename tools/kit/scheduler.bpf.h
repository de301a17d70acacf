/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* What the scheduler's tools share: states of tasks, and the start times that they measure from. */
#ifndef SKEP_TOOL_SCHEDULER_BPF_H
#define SKEP_TOOL_SCHEDULER_BPF_H

/* include/linux/sched.h */
#define TOOL_TASK_RUNNING 0
#define TOOL_PF_KTHREAD 0x00200000

static __always_inline long tool_task_state(struct task_struct *task) {
  if (bpf_core_field_exists(task->__state)) return BPF_CORE_READ(task, __state);
  return BPF_CORE_READ((struct task_struct___before_5_14 *)task, state);
}

static __always_inline bool tool_is_kernel_thread(struct task_struct *task) {
  return task->flags & TOOL_PF_KTHREAD;
}

/* Nanoseconds as the tool's histogram counts them: of us or, with `milliseconds`, of ms. */
static __always_inline u64 tool_in_units(u64 nanoseconds, bool milliseconds) {
  return nanoseconds / (milliseconds ? 1000000 : 1000);
}

#endif
