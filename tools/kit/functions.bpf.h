/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * A kernel function's beginning and end, through whichever of fentry, fexit and probes this kernel has.
 *
 *   static __always_inline int on_read(void *ctx, struct file *file) { ... }
 *   static __always_inline int on_read_end(void *ctx, s64 result) { ... }
 *   TOOL_ENTRY(read, vfs_read, on_read, (ctx, file), struct file *file)
 *   TOOL_RETURN(read_end, vfs_read, on_read_end)
 *
 * Each is two alternatives of one stem; several functions of one stem are alternatives as well, in the order written,
 * for functions that have had other names. fentry comes first because it attaches and leaves in microseconds.
 */
#ifndef SKEP_TOOL_FUNCTIONS_BPF_H
#define SKEP_TOOL_FUNCTIONS_BPF_H

#define TOOL_ENTRY(stem, function, body, arguments, ...)                                                    \
  SEC("?fentry/" #function) int BPF_PROG(stem##__fentry_##function, ##__VA_ARGS__) { return body arguments; } \
  SEC("?kprobe/" #function) int BPF_KPROBE(stem##__kprobe_##function, ##__VA_ARGS__) { return body arguments; }

#define TOOL_RETURN(stem, function, body)                                                                   \
  SEC("?fexit/" #function) int stem##__fexit_##function(u64 *ctx) {                                          \
    u64 result = 0;                                                                                         \
    bpf_get_func_ret(ctx, &result);                                                                         \
    return body(ctx, result);                                                                               \
  }                                                                                                         \
  SEC("?kretprobe/" #function) int stem##__kretprobe_##function(struct pt_regs *ctx) {                       \
    return body(ctx, PT_REGS_RC(ctx));                                                                      \
  }

#endif
