"""Handlers that declare what they are given: the arguments of a system call, although its function has the caller's registers."""
from common import DriverCase, main

STATFS = r"""
from bcc import BPF
b = BPF(text='''
int on_statfs(struct pt_regs *ctx, const char __user *path) {
  char name[16] = {};
  bpf_probe_read_user(&name, sizeof(name), path);
  bpf_trace_printk("statfs %s", name);
  return 0;
}
''')
b.attach_kprobe(event=b.get_syscall_fnname("statfs"), fn_name="on_statfs")
while True:
    try:
        b.trace_print()
    except KeyboardInterrupt:
        break
"""


class Handlers(DriverCase):
    def test_the_arguments_of_a_system_call_are_those_that_are_declared(self):
        result = self.driver(STATFS, "stat", "-f", "/etc")
        self.assertRegex(result.stdout, r"bpf_trace_printk: statfs /etc\b", result.stderr)


if __name__ == "__main__":
    main()
