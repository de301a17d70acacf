/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What the built-in tools' programs share: who is wanted, system calls on either engine, times.
 *
 * The kit (kit.hpp) chooses among an object's programs by their names:
 *   user_*         for the user engine only
 *   kernel_*       for the kernel engine only
 *   STEM__VARIANT  alternatives: the first of a stem, in the order of the file, whose hook this kernel has
 *   maybe_*        left out, with a note, where the kernel has no such hook; every other stem is needed
 *   follow_*       only where a command's own processes are wanted in the kernel engine
 * and sets the constants wanted_*.
 */
#ifndef SKEP_TOOL_BPF_H
#define SKEP_TOOL_BPF_H

#include "vmlinux.h"
#include <asm/unistd.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* ---- who is wanted ------------------------------------------------------------------------------------------- */

const volatile bool in_kernel = 0;    /* the kernel engine: the kernel's memory can be read */
const volatile u32 wanted_pid = 0;    /* the process; 0: any */
const volatile u32 wanted_tid = 0;    /* the thread; 0: any */
const volatile u32 wanted_uid = -1;   /* the user; -1: any */
const volatile bool wanted_tree = 0;  /* only processes that `tree` has */

/* The tool itself, whose children are members; a process of the command; with TOOL_FROM_EXEC a child that is not the
 * command yet. */
enum { TREE_ROOT = 1, TREE_MEMBER = 2, TREE_SPAWNED = 3 };

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 16384);
  __type(key, u32);
  __type(value, u8);
} tree SEC(".maps");

static __always_inline bool wanted_task(u32 pid, u32 tid) {
  if (wanted_pid && pid != wanted_pid) return false;
  if (wanted_tid && tid != wanted_tid) return false;
  if (wanted_tree) {
    u8 *place = bpf_map_lookup_elem(&tree, &pid);
    return place && *place == TREE_MEMBER;
  }
  return true;
}

/*
 * Tools that define TOOL_CONTAINERS before they include this have --cgroupmap and --mntnsmap (containers.hpp): maps whose
 * keys are the control groups and mount namespaces that are wanted. Their user made them, and fills them. The loader
 * finds them at the paths that skep_pin_* hold.
 */
#ifdef TOOL_CONTAINERS
#define TOOL_PATH_BYTES 256
const volatile bool wanted_cgroups = 0, wanted_mount_namespaces = 0;
const volatile char skep_pin_cgroupset[TOOL_PATH_BYTES] = "", skep_pin_mount_ns_set[TOOL_PATH_BYTES] = "";

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, u64); /* as bpf_get_current_cgroup_id() tells them */
  __type(value, u64);
} cgroupset SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, u64); /* inode numbers */
  __type(value, u32);
} mount_ns_set SEC(".maps");

static __always_inline bool wanted_container(void) {
  if (wanted_cgroups) {
    u64 id = bpf_get_current_cgroup_id();
    if (!bpf_map_lookup_elem(&cgroupset, &id)) return false;
  }
  if (wanted_mount_namespaces) {
    struct task_struct *task = (void *)bpf_get_current_task();
    u64 number = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
    if (!bpf_map_lookup_elem(&mount_ns_set, &number)) return false;
  }
  return true;
}
#else
static __always_inline bool wanted_container(void) { return true; }
#endif

/* Whether the current task is. */
static __always_inline bool wanted(void) {
  if (!wanted_container()) return false;
  if (wanted_uid != (u32)-1 && (u32)bpf_get_current_uid_gid() != wanted_uid) return false;
  if (!wanted_pid && !wanted_tid && !wanted_tree) return true;
  u64 id = bpf_get_current_pid_tgid();
  return wanted_task(id >> 32, id);
}

/* The process that started the current one. */
static __always_inline u32 tool_parent(void) {
  struct task_struct *task = (void *)bpf_get_current_task();
  return BPF_CORE_READ(task, real_parent, tgid);
}

SEC("?raw_tp/sched_process_fork")
int follow_fork(struct bpf_raw_tracepoint_args *ctx) {
  struct task_struct *parent = (void *)ctx->args[0], *child = (void *)ctx->args[1];
  u32 from = BPF_CORE_READ(parent, tgid), to = BPF_CORE_READ(child, tgid);
  u8 member = TREE_MEMBER, *place = bpf_map_lookup_elem(&tree, &from);
  if (from == to || !place) return 0;
#ifdef TOOL_FROM_EXEC
  if (*place != TREE_MEMBER) member = TREE_SPAWNED;
#endif
  bpf_map_update_elem(&tree, &to, &member, BPF_ANY);
  return 0;
}

/* Tools that count every call define TOOL_FROM_EXEC: the C library makes more than a hundred before the child execs. */
#ifdef TOOL_FROM_EXEC
SEC("?raw_tp/sched_process_exec")
int follow_exec(void *ctx) {
  u32 pid = bpf_get_current_pid_tgid() >> 32;
  u8 *place = bpf_map_lookup_elem(&tree, &pid);
  if (place && *place == TREE_SPAWNED) *place = TREE_MEMBER;
  return 0;
}
#endif

/* ---- system calls --------------------------------------------------------------------------------------------- */

/*
 * A tool says once which calls it watches, and what happens at their beginning and end:
 *
 *   #define CALLS(X) X(openat) X(openat2)
 *   static __always_inline int on_enter(void *ctx, u32 nr, const u64 *args);
 *   static __always_inline int on_exit(void *ctx, u32 nr, s64 ret);
 *   TOOL_CALLS_ENTER(CALLS, on_enter)
 *   TOOL_CALLS_EXIT(CALLS, on_exit)
 *
 * In the user engine each call has its tracepoint, so that no other call is stopped. In the kernel one typed
 * tracepoint sees all calls: attaching and leaving it takes microseconds, where a perf event for each tracepoint
 * takes the kernel tens of milliseconds to let go. Callers with 32-bit numbers are left out, as tracepoints do.
 */
#define TOOL_TS_COMPAT 2

static __always_inline bool tool_is_compat(void) {
#if defined(__TARGET_ARCH_x86)
  struct task_struct *task = (void *)bpf_get_current_task();
  if (!bpf_core_field_exists(task->thread_info.status)) return false;
  /* Since Linux 5.11 a program may look for itself, which takes a fifth of the time. */
  if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf))
    return bpf_get_current_task_btf()->thread_info.status & TOOL_TS_COMPAT;
  return BPF_CORE_READ(task, thread_info.status) & TOOL_TS_COMPAT;
#else
  return false;
#endif
}

/* The records of syscalls/sys_enter_* and sys_exit_*: the same on every kernel. */
struct tool_enter_record {
  u64 common;
  s64 nr;
  u64 args[6];
};
struct tool_exit_record {
  u64 common;
  s64 nr, ret;
};

#define TOOL_USER_ENTER(call)                                                          \
  SEC("?tracepoint/syscalls/sys_enter_" #call)                                         \
  int user_enter_##call(struct tool_enter_record *ctx) {                               \
    return TOOL_ON_ENTER(ctx, __NR_##call, ctx->args);                                 \
  }
#define TOOL_USER_EXIT(call)                                                           \
  SEC("?tracepoint/syscalls/sys_exit_" #call)                                          \
  int user_exit_##call(struct tool_exit_record *ctx) { return TOOL_ON_EXIT(ctx, __NR_##call, ctx->ret); }
#define TOOL_IS_CALL(call) || nr == __NR_##call

#if defined(__TARGET_ARCH_x86)
#define TOOL_SYSCALL_ARGS(regs) {regs->di, regs->si, regs->dx, regs->r10, regs->r8, regs->r9}
#define TOOL_SYSCALL_NR(regs) ((s64)regs->orig_ax)
#else
#define TOOL_SYSCALL_ARGS(regs) \
  {BPF_CORE_READ(regs, orig_x0), BPF_CORE_READ(regs, regs[1]), BPF_CORE_READ(regs, regs[2]), BPF_CORE_READ(regs, regs[3]), BPF_CORE_READ(regs, regs[4]), BPF_CORE_READ(regs, regs[5])}
#define TOOL_SYSCALL_NR(regs) ((s64)BPF_CORE_READ((struct pt_regs___arm64 *)regs, syscallno))
#endif

#define TOOL_CALLS_ENTER(calls, body)                                                  \
  static __always_inline int TOOL_ON_ENTER(void *ctx, u32 nr, const u64 *args) {       \
    return wanted() ? body(ctx, nr, args) : 0;                                         \
  }                                                                                    \
  calls(TOOL_USER_ENTER) SEC("?tp_btf/sys_enter") int kernel_sys_enter(u64 *ctx) {     \
    struct pt_regs *regs = (struct pt_regs *)ctx[0];                                   \
    s64 nr = ctx[1];                                                                   \
    if (!(0 calls(TOOL_IS_CALL)) || tool_is_compat()) return 0;                        \
    u64 args[6] = TOOL_SYSCALL_ARGS(regs);                                             \
    return TOOL_ON_ENTER(ctx, nr, args);                                               \
  }
#define TOOL_CALLS_EXIT(calls, body)                                                   \
  static __always_inline int TOOL_ON_EXIT(void *ctx, u32 nr, s64 ret) { return body(ctx, nr, ret); } \
  calls(TOOL_USER_EXIT) SEC("?tp_btf/sys_exit") int kernel_sys_exit(u64 *ctx) {        \
    struct pt_regs *regs = (struct pt_regs *)ctx[0];                                   \
    s64 nr = TOOL_SYSCALL_NR(regs);                                                    \
    if (!(0 calls(TOOL_IS_CALL)) || tool_is_compat()) return 0;                        \
    return TOOL_ON_EXIT(ctx, nr, ctx[1]);                                              \
  }

/* ---- histograms ------------------------------------------------------------------------------------------------ */

#define TOOL_SLOTS 64
struct log2_histogram {
  u64 slots[TOOL_SLOTS]; /* [n]: values of n bits less one: 0 and 1, 2 and 3, 4 to 7, ... */
  u64 total;
};

static __always_inline u32 tool_log2(u64 value) {
  u32 bits = 0, step;
  step = (value > 0xffffffff) << 5, value >>= step, bits |= step;
  step = (value > 0xffff) << 4, value >>= step, bits |= step;
  step = (value > 0xff) << 3, value >>= step, bits |= step;
  step = (value > 0xf) << 2, value >>= step, bits |= step;
  step = (value > 0x3) << 1, value >>= step, bits |= step;
  return bits | (value > 1);
}

static __always_inline void tool_observe(struct log2_histogram *histogram, u64 value) {
  u32 slot = tool_log2(value);
  if (slot < TOOL_SLOTS) __sync_fetch_and_add(&histogram->slots[slot], 1);
  __sync_fetch_and_add(&histogram->total, value);
}

/* The entry of a key, made of zeros where there is none. `zero` is a variable in .rodata or .bss. */
static __always_inline void *tool_lookup_or_init(void *map, const void *key, const void *zero) {
  void *value = bpf_map_lookup_elem(map, key);
  if (value) return value;
  bpf_map_update_elem(map, key, zero, BPF_NOEXIST);
  return bpf_map_lookup_elem(map, key);
}

#endif
