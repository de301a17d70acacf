// Maps of many types, global data, a map of maps, a program array, kconfig, CO-RE, ksyms, global functions.
#include "vmlinux_part.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

const volatile unsigned int wanted_pid = 0;
__u64 in_bss;
__u64 in_data = 7;

extern int LINUX_KERNEL_VERSION __kconfig;
extern _Bool CONFIG_BPF_SYSCALL __kconfig;
extern const void bpf_prog_put __ksym;

struct pair {
  __u32 left, right;
};

struct {
  __uint(type, 1 /* hash */);
  __uint(max_entries, 4);
  __type(key, struct pair);
  __type(value, struct pair);
} pairs SEC(".maps");

struct {
  __uint(type, 6 /* percpu array */);
  __uint(max_entries, 2);
  __type(key, __u32);
  __type(value, __u32);
} per_cpu SEC(".maps");

struct {
  __uint(type, 22 /* queue */);
  __uint(max_entries, 2);
  __uint(value_size, 8);
} queue SEC(".maps");

struct inner {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} inner_one SEC(".maps"), inner_two SEC(".maps");

struct {
  __uint(type, 12 /* array of maps */);
  __uint(max_entries, 2);
  __type(key, __u32);
  __array(values, struct inner);
} outer SEC(".maps") = {.values = {&inner_one, &inner_two}};

int tail(void *ctx);
struct {
  __uint(type, 3 /* prog array */);
  __uint(max_entries, 1);
  __uint(key_size, 4);
  __array(values, int(void *));
} jumps SEC(".maps") = {.values = {[0] = (void *)&tail}};

__u64 parent_tgid, version, symbol, tail_ran;
_Bool bpf_configured;

__noinline int add_to_bss(int by) {
  in_bss += by;
  return 0;
}

SEC("raw_tp/sys_enter")
int tail(void *ctx) {
  tail_ran += 1;
  return 0;
}

SEC("raw_tp/sys_enter")
int fill(unsigned long *ctx) {
  if (bpf_get_current_pid_tgid() >> 32 != wanted_pid || ctx[1] != 110) return 0;
  struct task_struct *task = (void *)bpf_get_current_task();
  parent_tgid = BPF_CORE_READ(task, real_parent, tgid);
  version = LINUX_KERNEL_VERSION;
  bpf_configured = CONFIG_BPF_SYSCALL;
  symbol = (__u64)&bpf_prog_put;
  add_to_bss(in_data);
  struct pair key = {1, 2}, value = {3, 4};
  bpf_map_update_elem(&pairs, &key, &value, 0);
  __u32 zero = 0, one = 1;
  __u32 *mine = bpf_map_lookup_elem(&per_cpu, &one);
  if (mine) *mine += 1;
  void *second = bpf_map_lookup_elem(&outer, &one);
  __u64 *cell = second ? bpf_map_lookup_elem(second, &zero) : 0;
  if (cell) *cell = 11;
  bpf_tail_call(ctx, &jumps, 0);
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
