/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The C dialect of BCC, without BCC: maps that are declared by one macro and used with method syntax.
 *
 *   BPF_HASH(counts, u32);
 *   int on_event(void *ctx) { u32 pid = bpf_get_current_pid_tgid() >> 32; counts.increment(pid); return 0; }
 *
 * BCC rewrites such sources before it compiles them. Here nothing is rewritten: `counts` is a constant
 * table of pointers to inline functions, each of which knows its map. At -O2 a call through a constant
 * table becomes a direct call, the call is inlined, the table goes away, and what is left are the helper
 * calls that one would have written by hand.
 *
 * Conventions that the loader relies on:
 *   skep_map_NAME      in section .maps     the map NAME
 *   section skep.bcc                        every global function there is a program
 *   VAR *.skep_record__NAME in skep.records pointer type: what is sent through the map NAME
 *
 * skep includes this in front of a source and parses it at every compilation: keep it small.
 */
#ifndef SKEP_BCC_H
#define SKEP_BCC_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char s8;
typedef signed short s16;
typedef signed int s32;
typedef signed long long s64;

#ifdef SKEP_FULL_UAPI /* the source names packets or other things of the kernel's interface */
#include <linux/bpf.h>
#else
typedef u8 __u8;
typedef u16 __u16;
typedef u32 __u32;
typedef u64 __u64;
typedef s8 __s8;
typedef s16 __s16;
typedef s32 __s32;
typedef s64 __s64;
typedef u16 __be16;
typedef u32 __be32;
typedef u64 __be64;
typedef u16 __le16;
typedef u32 __le32;
typedef u64 __le64;
typedef u32 __wsum;
typedef u16 __sum16;
enum { BPF_ANY, BPF_NOEXIST, BPF_EXIST, BPF_F_LOCK = 4 };
enum { BPF_F_NO_PREALLOC = 1, BPF_F_NO_COMMON_LRU = 2 };
enum { BPF_F_SKIP_FIELD_MASK = 0xff, BPF_F_USER_STACK = 256, BPF_F_FAST_STACK_CMP = 512, BPF_F_REUSE_STACKID = 1024 };
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2 };
enum { BPF_RB_AVAIL_DATA, BPF_RB_RING_SIZE, BPF_RB_CONS_POS, BPF_RB_PROD_POS };
#define BPF_F_INDEX_MASK 0xffffffffULL
#define BPF_F_CURRENT_CPU BPF_F_INDEX_MASK
struct bpf_raw_tracepoint_args {
  __u64 args[0];
};
struct bpf_perf_event_value {
  __u64 counter, enabled, running;
};
struct bpf_pidns_info {
  __u32 pid, tgid;
};
#define SKEP_OWN_UAPI
#endif

typedef int pid_t;
typedef unsigned int uid_t;
typedef unsigned int gid_t;
typedef unsigned int dev_t;
typedef unsigned short umode_t;
typedef unsigned long size_t;
typedef long ssize_t;
typedef long long loff_t;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)
#define __user
#define __kernel
#define __rcu
#define __force
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define memcpy __builtin_memcpy
#define memset __builtin_memset
#define memcmp __builtin_memcmp
#define offsetof(t, d) __builtin_offsetof(t, d)
#define TASK_COMM_LEN 16
#define CUR_CPU_IDENTIFIER BPF_F_CURRENT_CPU
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

#include <bpf/bpf_helper_defs.h>
#include <skep/arguments.h>
#include <skep/macro.h>
#define SKEP_DEFINE_PT_REGS
#include <skep/pt_regs.h>
#ifdef SKEP_FULL_UAPI
#include <linux/bpf_perf_event.h>
#endif
#include <skep/bcc_maps.h>

/* ---- programs ---------------------------------------------------------------------------------------- */

#define TRACEPOINT_PROBE(category, event) \
  int tracepoint__##category##__##event(struct tracepoint__##category##__##event *args)
#define RAW_TRACEPOINT_PROBE(event) int raw_tracepoint__##event(struct bpf_raw_tracepoint_args *ctx)
/* Entry and exit of a kernel function, with its own parameters; at the exit the result follows them. */
#define KFUNC_PROBE(function, ...) \
  int SKEP_PROGRAM(kfunc__##function, u64, SKEP_FROM_ARRAY(__VA_ARGS__), ##__VA_ARGS__)
#define KRETFUNC_PROBE(function, ...) \
  int SKEP_PROGRAM(kretfunc__##function, u64, SKEP_FROM_ARRAY(__VA_ARGS__), ##__VA_ARGS__)
/* A function of a module is found by its name, too. */
#define MODULE_KFUNC_PROBE(module, function, ...) KFUNC_PROBE(function, ##__VA_ARGS__)
#define MODULE_KRETFUNC_PROBE(module, function, ...) KRETFUNC_PROBE(function, ##__VA_ARGS__)
#define KMOD_RET(function, ...) \
  int SKEP_PROGRAM(kmod_ret__##function, u64, SKEP_FROM_ARRAY(__VA_ARGS__), ##__VA_ARGS__)
#define BPF_ITER(target) int bpf_iter__##target(struct bpf_iter__##target *ctx)
#define LSM_PROBE(hook, ...) int SKEP_PROGRAM(lsm__##hook, u64, SKEP_FROM_ARRAY(__VA_ARGS__), ##__VA_ARGS__)

/*
 * Arguments of the probed function, for handlers with more parameters than five. The function of a system call is
 * given a pointer to the registers of its caller.
 */
#define SKEP_ARGUMENT(context, number) PT_REGS_PARM##number(context)
#define SKEP_CALLERS_ARGUMENT(context, number) SKEP_CALLERS_ARGUMENT_##number((struct pt_regs *)PT_REGS_PARM1(context))
#define SKEP_CALLERS_ARGUMENT_1 PT_REGS_PARM1
#define SKEP_CALLERS_ARGUMENT_2 PT_REGS_PARM2
#define SKEP_CALLERS_ARGUMENT_3 PT_REGS_PARM3
#define SKEP_CALLERS_ARGUMENT_4(regs) ((regs)->SKEP_REG_PARM4_SYSCALL)
#define SKEP_CALLERS_ARGUMENT_5 PT_REGS_PARM5
#define SKEP_CALLERS_ARGUMENT_6 PT_REGS_PARM6

/* What the function of a system call is given: the registers of its caller. */
#define PT_REGS_SYSCALL_REGS(context) ((struct pt_regs *)PT_REGS_PARM1(context))

/* A string that a tracepoint carries behind its fields: `TP_DATA_LOC_READ(to, filename)`. */
#define TP_DATA_LOC_LENGTH(field) (args->data_loc_##field >> 16)
#define TP_DATA_LOC(field) ((void *)args + (args->data_loc_##field & 0xffff))
#define TP_DATA_LOC_READ_CONST(to, field, length) bpf_probe_read_kernel((to), (length), TP_DATA_LOC(field))
#define TP_DATA_LOC_READ(to, field) bpf_probe_read_kernel((to), TP_DATA_LOC_LENGTH(field), TP_DATA_LOC(field))
#define TP_DATA_LOC_READ_STR(to, field, length) bpf_probe_read_kernel_str((to), (length), TP_DATA_LOC(field))

/* ---- small functions --------------------------------------------------------------------------------- */

#define min(a, b)                      \
  ({                                   \
    __typeof__(a) skep_a = (a);        \
    __typeof__(b) skep_b = (b);        \
    skep_a < skep_b ? skep_a : skep_b; \
  })
#define max(a, b)                      \
  ({                                   \
    __typeof__(a) skep_a = (a);        \
    __typeof__(b) skep_b = (b);        \
    skep_a > skep_b ? skep_a : skep_b; \
  })
#define min_t(type, a, b) min((type)(a), (type)(b))
#define max_t(type, a, b) max((type)(a), (type)(b))
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))
#define lock_xadd(pointer, value) ((void)__sync_fetch_and_add((pointer), (value)))

/* One more than the index of the highest bit set, 0 for 0: the bucket of a power-of-two histogram. */
static __always_inline unsigned int bpf_log2(unsigned int value) {
  unsigned int bits = 0, step;
  step = (value > 0xffff) << 4, value >>= step, bits |= step;
  step = (value > 0xff) << 3, value >>= step, bits |= step;
  step = (value > 0xf) << 2, value >>= step, bits |= step;
  step = (value > 0x3) << 1, value >>= step, bits |= step;
  return bits | value >> 1;
}
static __always_inline unsigned int bpf_log2l(unsigned long value) {
  unsigned int high = value >> 32;
  return high ? bpf_log2(high) + 33 : bpf_log2((unsigned int)value) + 1;
}

/* ---- bpf_trace_printk -------------------------------------------------------------------------------- */

/*
 * Three ways to call it: ("text"), ("text %d", a, b, c), and the kernel's own (text, sizeof(text), a, b, c).
 * A string literal in the first place makes it the short form, as in BCC: its size is added, and its text is
 * copied to the stack, so that the program needs no read-only data. Only a literal is a constant to clang.
 */
#define SKEP_PRINT_SHORT(format, ...)                               \
  ({                                                                \
    char skep_format[sizeof(format)];                               \
    __builtin_memcpy(skep_format, (format), sizeof(format));        \
    (bpf_trace_printk)(skep_format, sizeof(format), ##__VA_ARGS__); \
  })
#define SKEP_PRINT_1(format) SKEP_PRINT_SHORT(format)
#define SKEP_PRINT_2(format, second, ...)                                                                \
  __builtin_choose_expr(__builtin_constant_p(format), SKEP_PRINT_SHORT(format, second, ##__VA_ARGS__),   \
                        (bpf_trace_printk)((format), (u32)(unsigned long)(second), ##__VA_ARGS__))
#define SKEP_PRINT_3 SKEP_PRINT_2
#define SKEP_PRINT_4 SKEP_PRINT_2
#define SKEP_TOO_MANY "bpf_trace_printk prints at most 3 values: print the others in a second call"
#define SKEP_PRINT_5(format, size, ...)                            \
  ({                                                               \
    _Static_assert(!__builtin_constant_p(format), SKEP_TOO_MANY);  \
    (bpf_trace_printk)((format), (size), ##__VA_ARGS__);           \
  })
#define SKEP_PRINT_6(...) ({ _Static_assert(0, SKEP_TOO_MANY); })
#define SKEP_PRINT_7 SKEP_PRINT_6
#define SKEP_PRINT_8 SKEP_PRINT_6
#define bpf_trace_printk(...) SKEP_PICK(SKEP_PRINT_, ##__VA_ARGS__)(__VA_ARGS__)

/* ---- licence and section ----------------------------------------------------------------------------- */

#ifndef SKEP_LICENSE
#define SKEP_LICENSE "GPL"
#endif
#ifndef SKEP_OWN_LICENSE
char skep_license[] __attribute__((section("license"), used)) = SKEP_LICENSE;
#endif

/*
 * From here on every function without a section of its own is a program, and is inlined where it is called, static or
 * not, as BCC does it: the file that clang reads ends this again.
 */
#pragma clang attribute push(__attribute__((always_inline)), apply_to = function)
#pragma clang section text = "skep.bcc"

#endif
