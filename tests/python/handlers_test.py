"""Handlers and what they are given: a system call's arguments, although its function has the caller's registers; calls of
strlen(), although that name is no function; messages with newlines."""
import shutil
import subprocess
import sys

from common import DriverCase, can_use_kernel_bpf, main, need

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


# The C library's strlen() is indirect: each process gets one of several, by its CPU.
STRLEN = r"""
from bcc import BPF
b = BPF(text='''
#include <uapi/linux/ptrace.h>
int count(struct pt_regs *ctx) {
  char text[16] = {};
  bpf_probe_read_user_str(&text, sizeof(text), (void *)PT_REGS_PARM1(ctx));
  if (text[0] == 'q' && text[1] == 'u' && text[2] == 'i') bpf_trace_printk("strlen %s\\n", text);
  return 0;
}
''')
b.attach_uprobe(name="c", sym="strlen", fn_name="count")
while True:
    try:
        print(b.trace_fields()[5])
    except KeyboardInterrupt:
        break
"""

CALLS_STRLEN = r"""
#include <string.h>
int main(int count, char **arguments) {
  size_t (*volatile length)(const char *) = strlen;
  return length(arguments[1]) != 9;
}
"""


# What system calls are given lies in the process: its structures are those of the interface, in both engines.
CONNECT = r"""
from bcc import BPF
import socket, struct
b = BPF(text='''
#include <linux/in.h>
#include <linux/socket.h>
struct event { u32 address; u16 port; u64 parts, bytes; };
BPF_PERF_OUTPUT(events);
int on_connect(struct pt_regs *ctx, int fd, struct sockaddr __user *to) {
  struct sockaddr_in internet = {};
  struct event e = {};
  if (to->sa_family != AF_INET) return 0;
  bpf_probe_read_user(&internet, sizeof(internet), to);
  e.address = internet.sin_addr.s_addr;
  e.port = ntohs(internet.sin_port);
  events.perf_submit(ctx, &e, sizeof(e));
  return 0;
}
int on_sendmsg(struct pt_regs *ctx, int fd, struct user_msghdr __user *message) {
  struct event e = {};
  e.parts = message->msg_iovlen;
  e.bytes = message->msg_iov->iov_len;
  events.perf_submit(ctx, &e, sizeof(e));
  return 0;
}
''')
b.attach_kprobe(event=b.get_syscall_fnname("connect"), fn_name="on_connect")
b.attach_kprobe(event=b.get_syscall_fnname("sendmsg"), fn_name="on_sendmsg")
def show(cpu, data, size):
    e = b["events"].event(data)
    print(socket.inet_ntoa(struct.pack("=I", e.address)), e.port, e.parts, e.bytes, flush=True)
b["events"].open_perf_buffer(show)
while True:
    try:
        b.perf_buffer_poll()
    except KeyboardInterrupt:
        break
"""

CONNECTS = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.connect(("127.7.6.5", 4711))
one, other = socket.socketpair()
one.sendmsg([b"seven77", b"x", b"yy"])
"""


class Handlers(DriverCase):
    def test_structures_of_system_calls(self):
        script = self.write("connects.py", CONNECTS)
        engines = [[]] + ([["--backend", "kernel"]] if can_use_kernel_bpf() else [])
        for before in engines:
            result = self.driver(CONNECT, sys.executable, "-I", "-S", script, before=before)
            for line in ("127.7.6.5 4711 0 0", "0.0.0.0 0 3 7"):
                self.assertIn(line, result.stdout.splitlines(), result.stderr)

    def sees_strlen(self, *before):
        compiler = shutil.which("cc")
        need(compiler, "a C compiler makes a program that calls strlen()")
        program = self.directory / "length"
        subprocess.run([compiler, "-x", "c", "-o", program, "-"], input=CALLS_STRLEN, text=True, check=True)
        result = self.driver(STRLEN, program, "quicksand", before=before)
        seen = {line for line in result.stdout.splitlines() if "strlen" in line}  # the kernel's pipe has others' lines, too
        self.assertEqual(seen, {"b'strlen quicksand'"}, result.stderr)

    def test_strlen_in_the_user_engine(self):
        self.sees_strlen()

    def test_strlen_in_the_kernel(self):
        need(can_use_kernel_bpf(), "the kernel engine needs CAP_BPF and CAP_PERFMON (root), and a kernel with BTF")
        self.sees_strlen("--backend", "kernel")

    def test_the_arguments_of_a_system_call_are_those_that_are_declared(self):
        result = self.driver(STATFS, "stat", "-f", "/etc")
        self.assertRegex(result.stdout, r"bpf_trace_printk: statfs /etc\b", result.stderr)


if __name__ == "__main__":
    main()
