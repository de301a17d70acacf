"""Several static probes of one driver: each handler reads the arguments of its own probe, on both engines."""
import os
import shutil
import subprocess

from common import DriverCase, can_use_kernel_bpf, main, need

PROBED = r"""
#define PROBE(name, arguments)                                                                            \
  __attribute__((noinline)) void name(long first, long second) {                                          \
    __asm__ volatile(                                                                                     \
        "990: nop\n.pushsection .note.stapsdt,\"\",\"note\"\n.balign 4\n.4byte 992f-991f, 994f-993f, 3\n" \
        "991: .asciz \"stapsdt\"\n992: .balign 4\n993: .8byte 990b\n.8byte 0\n.8byte 0\n"                 \
        ".asciz \"skep_test\"\n.asciz \"" #name "\"\n.asciz \"" arguments "\"\n994: .balign 4\n"          \
        ".popsection\n" : : "D"(first), "S"(second));                                                     \
  }
PROBE(opened, "8@%%rdi")
PROBE(closed, "8@%%rsi 8@%%rdi")
int main(void) {
  opened(11, 12);
  closed(21, 22);
  return 0;
}
"""

DRIVER = r"""
import sys
from bcc import BPF, USDT
usdt = USDT(path=sys.argv[1])
usdt.enable_probe("opened", "on_opened")
usdt.enable_probe("skep_test:closed", "on_closed")
b = BPF(text='''
struct event { s64 kind, first; };
BPF_PERF_OUTPUT(events);
int on_opened(struct pt_regs *ctx) {
  struct event e = {1};
  bpf_usdt_readarg(1, ctx, &e.first);
  events.perf_submit(ctx, &e, sizeof(e));
  return 0;
}
int on_closed(struct pt_regs *ctx) {
  struct event e = {2};
  bpf_usdt_readarg(1, ctx, &e.first);
  events.perf_submit(ctx, &e, sizeof(e));
  return 0;
}''', usdt_contexts=[usdt])
def show(cpu, data, size):
    event = b["events"].event(data)
    print(event.kind, event.first, flush=True)
b["events"].open_perf_buffer(show)
while True:
    try:
        b.perf_buffer_poll()
    except KeyboardInterrupt:
        break
"""


class StaticProbes(DriverCase):
    def shows_both(self, *before):
        compiler = shutil.which("cc")
        need(compiler and os.uname().machine == "x86_64", "a C compiler makes a program with static probes")
        program = self.directory / "probed"
        subprocess.run([compiler, "-x", "c", "-O1", "-o", program, "-"], input=PROBED, text=True, check=True)
        result = self.driver(DRIVER, program, before=before, arguments=[program])
        self.assertEqual(result.stdout.splitlines(), ["1 11", "2 22"], result.stderr)

    def test_in_the_user_engine(self):
        self.shows_both()

    def test_in_the_kernel(self):
        need(can_use_kernel_bpf(), "the kernel engine needs CAP_BPF and CAP_PERFMON (root), and a kernel with BTF")
        self.shows_both("--backend", "kernel")


if __name__ == "__main__":
    main()
