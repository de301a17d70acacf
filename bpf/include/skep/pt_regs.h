/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The registers of an interrupted function, as kprobe programs receive them, and their names by role.
 *
 * PT_REGS_PARM1..5, _RC, _SP, _FP, _IP, _RET are one expression for each processor. The struct has the
 * kernel's layout and member names; vmlinux.h brings its own, and then only the names are used.
 * Source: System V ABI AMD64 3.2.3, AAPCS64; arch/{x86,arm64}/include/asm/ptrace.h.
 */
#ifndef SKEP_PT_REGS_H
#define SKEP_PT_REGS_H

#if !defined(__TARGET_ARCH_x86) && !defined(__TARGET_ARCH_arm64)
#error "define __TARGET_ARCH_x86 or __TARGET_ARCH_arm64 (skep does it for you)"
#endif

#ifdef SKEP_DEFINE_PT_REGS
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
  unsigned long r15, r14, r13, r12, bp, bx;
  unsigned long r11, r10, r9, r8, ax, cx, dx, si, di;
  unsigned long orig_ax, ip, cs, flags, sp, ss;
};
#else
struct user_pt_regs {
  unsigned long long regs[31];
  unsigned long long sp, pc, pstate;
};
struct pt_regs {
  union {
    struct user_pt_regs user_regs;
    struct {
      unsigned long long regs[31];
      unsigned long long sp, pc, pstate;
    };
  };
  unsigned long long orig_x0;
};
#endif
#endif

#if defined(__TARGET_ARCH_x86)
#if defined(SKEP_DEFINE_PT_REGS) || defined(__VMLINUX_H__) || defined(__KERNEL__)
#define SKEP_REG(kernel_name, uapi_name) kernel_name
#else /* <linux/ptrace.h> as user space sees it */
#define SKEP_REG(kernel_name, uapi_name) uapi_name
#endif
#define SKEP_REG_PARM1 SKEP_REG(di, rdi)
#define SKEP_REG_PARM2 SKEP_REG(si, rsi)
#define SKEP_REG_PARM3 SKEP_REG(dx, rdx)
#define SKEP_REG_PARM4 SKEP_REG(cx, rcx)
#define SKEP_REG_PARM5 r8
#define SKEP_REG_PARM6 r9
#define SKEP_REG_PARM4_SYSCALL r10
#define SKEP_REG_RET SKEP_REG(sp, rsp)
#define SKEP_REG_FP SKEP_REG(bp, rbp)
#define SKEP_REG_RC SKEP_REG(ax, rax)
#define SKEP_REG_SP SKEP_REG(sp, rsp)
#define SKEP_REG_IP SKEP_REG(ip, rip)
#define SKEP_REGS struct pt_regs
#else
#if defined(SKEP_DEFINE_PT_REGS) || defined(__VMLINUX_H__) || defined(__KERNEL__)
#define SKEP_REGS struct pt_regs
#else
#define SKEP_REGS struct user_pt_regs
#endif
#define SKEP_REG_PARM1 regs[0]
#define SKEP_REG_PARM2 regs[1]
#define SKEP_REG_PARM3 regs[2]
#define SKEP_REG_PARM4 regs[3]
#define SKEP_REG_PARM5 regs[4]
#define SKEP_REG_PARM6 regs[5]
#define SKEP_REG_PARM4_SYSCALL regs[3]
#define SKEP_REG_RET regs[30]
#define SKEP_REG_FP regs[29]
#define SKEP_REG_RC regs[0]
#define SKEP_REG_SP sp
#define SKEP_REG_IP pc
#endif

/* On both processors the registers lie in memory as in the kernel, whatever the type of the pointer. */
#define PT_REGS_PARM1(x) (((const SKEP_REGS *)(x))->SKEP_REG_PARM1)
#define PT_REGS_PARM2(x) (((const SKEP_REGS *)(x))->SKEP_REG_PARM2)
#define PT_REGS_PARM3(x) (((const SKEP_REGS *)(x))->SKEP_REG_PARM3)
#define PT_REGS_PARM4(x) (((const SKEP_REGS *)(x))->SKEP_REG_PARM4)
#define PT_REGS_PARM5(x) (((const SKEP_REGS *)(x))->SKEP_REG_PARM5)
#define PT_REGS_PARM6(x) (((const SKEP_REGS *)(x))->SKEP_REG_PARM6)
#define PT_REGS_RET(x) (((const SKEP_REGS *)(x))->SKEP_REG_RET)
#define PT_REGS_FP(x) (((const SKEP_REGS *)(x))->SKEP_REG_FP)
#define PT_REGS_RC(x) (((const SKEP_REGS *)(x))->SKEP_REG_RC)
#define PT_REGS_SP(x) (((const SKEP_REGS *)(x))->SKEP_REG_SP)
#define PT_REGS_IP(x) (((const SKEP_REGS *)(x))->SKEP_REG_IP)

#endif
