/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Handlers with named parameters: BPF_PROG, BPF_KPROBE, BPF_KRETPROBE, BPF_KSYSCALL; and the registers' names.
 *
 *   SEC("kprobe/do_unlinkat")
 *   int BPF_KPROBE(on_unlink, int dfd, struct filename *name) { ... }
 *
 * Each macro writes the program, which takes the context only, and has it call an inline function whose
 * parameters are the ones given, taken from where the hook leaves them. `ctx` can be used in the body.
 * Source: libbpf's documentation (docs.kernel.org/bpf/libbpf); calling conventions as in skep/pt_regs.h.
 */
#ifndef SKEP_BPF_TRACING_H
#define SKEP_BPF_TRACING_H

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <skep/arguments.h>
#include <skep/pt_regs.h>

/* ---- registers behind a pointer that must be read with a helper -------------------------------------------- */

#define PT_REGS_PARM1_CORE(x) BPF_CORE_READ((const SKEP_REGS *)(x), SKEP_REG_PARM1)
#define PT_REGS_PARM2_CORE(x) BPF_CORE_READ((const SKEP_REGS *)(x), SKEP_REG_PARM2)
#define PT_REGS_PARM3_CORE(x) BPF_CORE_READ((const SKEP_REGS *)(x), SKEP_REG_PARM3)
#define PT_REGS_PARM4_CORE(x) BPF_CORE_READ((const SKEP_REGS *)(x), SKEP_REG_PARM4)
#define PT_REGS_PARM5_CORE(x) BPF_CORE_READ((const SKEP_REGS *)(x), SKEP_REG_PARM5)
#define PT_REGS_PARM6_CORE(x) BPF_CORE_READ((const SKEP_REGS *)(x), SKEP_REG_PARM6)
#define PT_REGS_RET_CORE(x) BPF_CORE_READ((const SKEP_REGS *)(x), SKEP_REG_RET)
#define PT_REGS_FP_CORE(x) BPF_CORE_READ((const SKEP_REGS *)(x), SKEP_REG_FP)
#define PT_REGS_RC_CORE(x) BPF_CORE_READ((const SKEP_REGS *)(x), SKEP_REG_RC)
#define PT_REGS_SP_CORE(x) BPF_CORE_READ((const SKEP_REGS *)(x), SKEP_REG_SP)
#define PT_REGS_IP_CORE(x) BPF_CORE_READ((const SKEP_REGS *)(x), SKEP_REG_IP)

/*
 * A system call's function receives one argument: where the caller's registers were saved. Its own arguments
 * are there; the fourth is in another register than a C function's.
 */
#define PT_REGS_SYSCALL_REGS(ctx) ((struct pt_regs *)PT_REGS_PARM1(ctx))
#define PT_REGS_PARM1_SYSCALL(x) (((const SKEP_REGS *)(x))->SKEP_REG_PARM1)
#define PT_REGS_PARM2_SYSCALL(x) (((const SKEP_REGS *)(x))->SKEP_REG_PARM2)
#define PT_REGS_PARM3_SYSCALL(x) (((const SKEP_REGS *)(x))->SKEP_REG_PARM3)
#define PT_REGS_PARM4_SYSCALL(x) (((const SKEP_REGS *)(x))->SKEP_REG_PARM4_SYSCALL)
#define PT_REGS_PARM5_SYSCALL(x) (((const SKEP_REGS *)(x))->SKEP_REG_PARM5)
#define PT_REGS_PARM6_SYSCALL(x) (((const SKEP_REGS *)(x))->SKEP_REG_PARM6)
#define PT_REGS_PARM1_CORE_SYSCALL(x) BPF_CORE_READ((const SKEP_REGS *)(x), SKEP_REG_PARM1)
#define PT_REGS_PARM2_CORE_SYSCALL(x) BPF_CORE_READ((const SKEP_REGS *)(x), SKEP_REG_PARM2)
#define PT_REGS_PARM3_CORE_SYSCALL(x) BPF_CORE_READ((const SKEP_REGS *)(x), SKEP_REG_PARM3)
#define PT_REGS_PARM4_CORE_SYSCALL(x) BPF_CORE_READ((const SKEP_REGS *)(x), SKEP_REG_PARM4_SYSCALL)
#define PT_REGS_PARM5_CORE_SYSCALL(x) BPF_CORE_READ((const SKEP_REGS *)(x), SKEP_REG_PARM5)
#define PT_REGS_PARM6_CORE_SYSCALL(x) BPF_CORE_READ((const SKEP_REGS *)(x), SKEP_REG_PARM6)

/* The return address and the caller's, for stack walking. */
#define BPF_KPROBE_READ_RET_IP(ip, ctx) ({ bpf_probe_read_kernel(&(ip), sizeof(ip), (void *)PT_REGS_RET(ctx)); })
#define BPF_KRETPROBE_READ_RET_IP(ip, ctx) \
  ({ bpf_probe_read_kernel(&(ip), sizeof(ip), (void *)(PT_REGS_FP(ctx) + sizeof(ip))); })

/* ---- arguments: registers, the result, the caller's registers -------------------------------------------------- */

#define SKEP_FROM_REGISTERS_0() ctx
#define SKEP_FROM_REGISTERS_1(a) ctx, (void *)PT_REGS_PARM1(ctx)
#define SKEP_FROM_REGISTERS_2(a, b) ctx, (void *)PT_REGS_PARM1(ctx), (void *)PT_REGS_PARM2(ctx)
#define SKEP_FROM_REGISTERS_3(a, b, c) ctx, (void *)PT_REGS_PARM1(ctx), (void *)PT_REGS_PARM2(ctx), (void *)PT_REGS_PARM3(ctx)
#define SKEP_FROM_REGISTERS_4(a, b, c, d) ctx, (void *)PT_REGS_PARM1(ctx), (void *)PT_REGS_PARM2(ctx), (void *)PT_REGS_PARM3(ctx), (void *)PT_REGS_PARM4(ctx)
#define SKEP_FROM_REGISTERS_5(a, b, c, d, e) ctx, (void *)PT_REGS_PARM1(ctx), (void *)PT_REGS_PARM2(ctx), (void *)PT_REGS_PARM3(ctx), (void *)PT_REGS_PARM4(ctx), (void *)PT_REGS_PARM5(ctx)
#define SKEP_FROM_REGISTERS_6(a, b, c, d, e, f) ctx, (void *)PT_REGS_PARM1(ctx), (void *)PT_REGS_PARM2(ctx), (void *)PT_REGS_PARM3(ctx), (void *)PT_REGS_PARM4(ctx), (void *)PT_REGS_PARM5(ctx), (void *)PT_REGS_PARM6(ctx)
#define SKEP_FROM_REGISTERS(...) SKEP_PICK(SKEP_FROM_REGISTERS_, ##__VA_ARGS__)(__VA_ARGS__)

#define SKEP_FROM_RESULT_0() ctx
#define SKEP_FROM_RESULT_1(a) ctx, (void *)PT_REGS_RC(ctx)
#define SKEP_FROM_RESULT(...) SKEP_PICK(SKEP_FROM_RESULT_, ##__VA_ARGS__)(__VA_ARGS__)

#define SKEP_FROM_CALLER_0() ctx
#define SKEP_FROM_CALLER_1(a) ctx, (void *)PT_REGS_PARM1_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx))
#define SKEP_FROM_CALLER_2(a, b) ctx, (void *)PT_REGS_PARM1_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx)), (void *)PT_REGS_PARM2_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx))
#define SKEP_FROM_CALLER_3(a, b, c) ctx, (void *)PT_REGS_PARM1_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx)), (void *)PT_REGS_PARM2_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx)), (void *)PT_REGS_PARM3_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx))
#define SKEP_FROM_CALLER_4(a, b, c, d) ctx, (void *)PT_REGS_PARM1_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx)), (void *)PT_REGS_PARM2_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx)), (void *)PT_REGS_PARM3_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx)), (void *)PT_REGS_PARM4_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx))
#define SKEP_FROM_CALLER_5(a, b, c, d, e) ctx, (void *)PT_REGS_PARM1_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx)), (void *)PT_REGS_PARM2_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx)), (void *)PT_REGS_PARM3_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx)), (void *)PT_REGS_PARM4_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx)), (void *)PT_REGS_PARM5_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx))
#define SKEP_FROM_CALLER_6(a, b, c, d, e, f) ctx, (void *)PT_REGS_PARM1_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx)), (void *)PT_REGS_PARM2_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx)), (void *)PT_REGS_PARM3_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx)), (void *)PT_REGS_PARM4_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx)), (void *)PT_REGS_PARM5_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx)), (void *)PT_REGS_PARM6_CORE_SYSCALL(PT_REGS_SYSCALL_REGS(ctx))
#define SKEP_FROM_CALLER(...) SKEP_PICK(SKEP_FROM_CALLER_, ##__VA_ARGS__)(__VA_ARGS__)

/* fentry, fexit (the result is the last parameter), tp_btf, raw_tp, lsm, struct_ops. */
#define BPF_PROG(name, ...) \
  SKEP_PROGRAM(name, unsigned long long, SKEP_FROM_ARRAY(__VA_ARGS__), ##__VA_ARGS__)
/* kprobe, uprobe: the first 6 arguments. */
#define BPF_KPROBE(name, ...) SKEP_PROGRAM(name, struct pt_regs, SKEP_FROM_REGISTERS(__VA_ARGS__), ##__VA_ARGS__)
#define BPF_UPROBE(name, ...) BPF_KPROBE(name, ##__VA_ARGS__)
/* kretprobe, uretprobe: the result, or nothing. */
#define BPF_KRETPROBE(name, ...) SKEP_PROGRAM(name, struct pt_regs, SKEP_FROM_RESULT(__VA_ARGS__), ##__VA_ARGS__)
#define BPF_URETPROBE(name, ...) BPF_KRETPROBE(name, ##__VA_ARGS__)
/* ksyscall: the arguments of the system call. */
#define BPF_KSYSCALL(name, ...) SKEP_PROGRAM(name, struct pt_regs, SKEP_FROM_CALLER(__VA_ARGS__), ##__VA_ARGS__)
#define BPF_KPROBE_SYSCALL BPF_KSYSCALL

#endif
