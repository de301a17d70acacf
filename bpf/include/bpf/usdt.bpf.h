/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Static probes of user programs: SEC("usdt/FILE:PROVIDER:NAME") and their arguments.
 *
 * Where an argument is when the probe is hit (a constant, a register, memory), the loader reads from the program's
 * notes and stores in __bpf_usdt_specs; the probe's cookie is the index there. Names, maps and their layout are those
 * of libbpf's header of this name, so that either loader serves objects made with either header. */
#ifndef SKEP_USDT_BPF_H
#define SKEP_USDT_BPF_H

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <skep/arguments.h>

#ifndef BPF_USDT_MAX_SPEC_CNT
#define BPF_USDT_MAX_SPEC_CNT 256
#endif
#define BPF_USDT_MAX_ARG_CNT 12

enum __bpf_usdt_arg_type {
  BPF_USDT_ARG_CONST,     /* val_off */
  BPF_USDT_ARG_REG,       /* the register at reg_off */
  BPF_USDT_ARG_REG_DEREF, /* memory at that register plus val_off */
  BPF_USDT_ARG_SIB,       /* the same plus the register at idx_reg_off, shifted left by scale_bitshift */
};

struct __bpf_usdt_arg_spec {
  __u64 val_off;
  __u32 arg_type : 8;
  __u32 idx_reg_off : 12;
  __u32 scale_bitshift : 4;
  __u32 : 8;
  short reg_off; /* in struct pt_regs */
  _Bool arg_signed;
  char arg_bitshift; /* 64 minus the argument's width in bits */
};

struct __bpf_usdt_spec {
  struct __bpf_usdt_arg_spec args[BPF_USDT_MAX_ARG_CNT];
  __u64 usdt_cookie;
  short arg_cnt;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, BPF_USDT_MAX_SPEC_CNT);
  __type(key, int);
  __type(value, struct __bpf_usdt_spec);
} __bpf_usdt_specs SEC(".maps") __attribute__((weak));

#define SKEP_USDT_ENOENT (-2)
#define SKEP_USDT_ESRCH (-3)
#define SKEP_USDT_EINVAL (-22)

static __always_inline struct __bpf_usdt_spec *__bpf_usdt_spec_of(struct pt_regs *ctx) {
  int id = (int)bpf_get_attach_cookie(ctx);
  return (struct __bpf_usdt_spec *)bpf_map_lookup_elem(&__bpf_usdt_specs, &id);
}

/* How many arguments this probe has, or -ESRCH outside of a probe. */
static __attribute__((noinline, unused)) int bpf_usdt_arg_cnt(struct pt_regs *ctx) {
  struct __bpf_usdt_spec *spec = __bpf_usdt_spec_of(ctx);
  return spec ? spec->arg_cnt : SKEP_USDT_ESRCH;
}

/* The cookie that the probe was attached with. */
static __attribute__((noinline, unused)) long bpf_usdt_cookie(struct pt_regs *ctx) {
  struct __bpf_usdt_spec *spec = __bpf_usdt_spec_of(ctx);
  return spec ? (long)spec->usdt_cookie : 0;
}

/* The width in bytes of argument `number` (from 0), or a negative error. */
static __attribute__((noinline, unused)) int bpf_usdt_arg_size(struct pt_regs *ctx, __u64 number) {
  struct __bpf_usdt_spec *spec = __bpf_usdt_spec_of(ctx);
  if (!spec) return SKEP_USDT_ESRCH;
  if (number >= BPF_USDT_MAX_ARG_CNT || (short)number >= spec->arg_cnt) return SKEP_USDT_ENOENT;
  return (64u - (unsigned char)spec->args[number].arg_bitshift) / 8;
}

/* Reads argument `number` (from 0) into *result, sign- or zero-extended. 0, or a negative error. */
static __attribute__((noinline, unused)) int bpf_usdt_arg(struct pt_regs *ctx, __u64 number, long *result) {
  struct __bpf_usdt_spec *spec = __bpf_usdt_spec_of(ctx);
  *result = 0;
  if (!spec) return SKEP_USDT_ESRCH;
  if (number >= BPF_USDT_MAX_ARG_CNT || (short)number >= spec->arg_cnt) return SKEP_USDT_ENOENT;
  struct __bpf_usdt_arg_spec *arg = &spec->args[number];
  unsigned long value = arg->val_off, base = 0, index = 0;
  int error;
  if (arg->arg_type != BPF_USDT_ARG_CONST) {
    error = bpf_probe_read_kernel(&base, sizeof(base), (void *)ctx + arg->reg_off);
    if (error) return error;
  }
  if (arg->arg_type == BPF_USDT_ARG_SIB) {
    error = bpf_probe_read_kernel(&index, sizeof(index), (void *)ctx + arg->idx_reg_off);
    if (error) return error;
    index <<= arg->scale_bitshift;
  }
  if (arg->arg_type == BPF_USDT_ARG_REG) {
    value = base;
  } else if (arg->arg_type == BPF_USDT_ARG_REG_DEREF || arg->arg_type == BPF_USDT_ARG_SIB) {
    error = bpf_probe_read_user(&value, sizeof(value), (void *)(base + index + arg->val_off));
    if (error) return error;
  } else if (arg->arg_type != BPF_USDT_ARG_CONST) {
    return SKEP_USDT_EINVAL;
  }
  value <<= arg->arg_bitshift;
  *result = arg->arg_signed ? (long)value >> arg->arg_bitshift : (long)(value >> arg->arg_bitshift);
  return 0;
}

/* int BPF_USDT(name, int first, void *second): a program whose parameters are the probe's arguments. */
#define SKEP_USDT_READ(number) ({ long skep_value; bpf_usdt_arg(ctx, number, &skep_value); (void *)skep_value; })
#define SKEP_FROM_USDT_0() ctx
#define SKEP_FROM_USDT_1(a) SKEP_FROM_USDT_0(), SKEP_USDT_READ(0)
#define SKEP_FROM_USDT_2(a, b) SKEP_FROM_USDT_1(a), SKEP_USDT_READ(1)
#define SKEP_FROM_USDT_3(a, b, c) SKEP_FROM_USDT_2(a, b), SKEP_USDT_READ(2)
#define SKEP_FROM_USDT_4(a, b, c, d) SKEP_FROM_USDT_3(a, b, c), SKEP_USDT_READ(3)
#define SKEP_FROM_USDT_5(a, b, c, d, e) SKEP_FROM_USDT_4(a, b, c, d), SKEP_USDT_READ(4)
#define SKEP_FROM_USDT_6(a, b, c, d, e, f) SKEP_FROM_USDT_5(a, b, c, d, e), SKEP_USDT_READ(5)
#define SKEP_FROM_USDT_7(a, b, c, d, e, f, g) SKEP_FROM_USDT_6(a, b, c, d, e, f), SKEP_USDT_READ(6)
#define SKEP_FROM_USDT_8(a, b, c, d, e, f, g, h) SKEP_FROM_USDT_7(a, b, c, d, e, f, g), SKEP_USDT_READ(7)
#define SKEP_FROM_USDT_9(a, b, c, d, e, f, g, h, i) SKEP_FROM_USDT_8(a, b, c, d, e, f, g, h), SKEP_USDT_READ(8)
#define SKEP_FROM_USDT_10(a, b, c, d, e, f, g, h, i, j) SKEP_FROM_USDT_9(a, b, c, d, e, f, g, h, i), SKEP_USDT_READ(9)
#define SKEP_FROM_USDT_11(a, b, c, d, e, f, g, h, i, j, k) SKEP_FROM_USDT_10(a, b, c, d, e, f, g, h, i, j), SKEP_USDT_READ(10)
#define SKEP_FROM_USDT_12(a, b, c, d, e, f, g, h, i, j, k, l) SKEP_FROM_USDT_11(a, b, c, d, e, f, g, h, i, j, k), SKEP_USDT_READ(11)
#define SKEP_FROM_USDT(...) SKEP_PICK(SKEP_FROM_USDT_, ##__VA_ARGS__)(__VA_ARGS__)
#define BPF_USDT(name, ...) SKEP_PROGRAM(name, struct pt_regs, SKEP_FROM_USDT(__VA_ARGS__), ##__VA_ARGS__)

#endif
