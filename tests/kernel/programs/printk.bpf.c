// Two trace_printk lines for one process.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile unsigned int wanted_pid = 0;

SEC("tp/syscalls/sys_enter_getppid")
int say(void *ctx) {
  unsigned int pid = bpf_get_current_pid_tgid() >> 32;
  if (pid != wanted_pid) return 0;
  bpf_printk("skep kernel test %d first\n", pid);
  bpf_printk("skep kernel test %d second", pid);
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
