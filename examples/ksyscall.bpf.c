// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// A system call's arguments by name, at its entry, and its result at the exit.
//
//   skep run examples/ksyscall.bpf.c -- sh -c 'kill -0 $$'
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

SEC("ksyscall/kill")
int BPF_KSYSCALL(on_kill, pid_t pid, int signal) {
  bpf_printk("kill(%d, %d)", pid, signal);
  return 0;
}

SEC("kretsyscall/kill")
int BPF_KRETPROBE(on_kill_result, long result) {
  bpf_printk("kill = %ld", result);
  return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
