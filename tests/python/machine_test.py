"""What only the kernel engine has: static probes, counters, symbols, stacks."""
import os
import shutil
import subprocess

from common import DriverCase, can_use_kernel_bpf, main, need

# A library with a static probe, as <sys/sdt.h> makes them: skep_test:hit with an int and a pointer.
PROBED = r"""
void skep_test_hit(int number, const char *text) {
  __asm__ volatile(
      "990: nop\n"
      ".pushsection .note.stapsdt,\"\",\"note\"\n"
      ".balign 4\n"
      ".4byte 992f-991f,994f-993f,3\n"
      "991: .asciz \"stapsdt\"\n"
      "992: .balign 4\n"
      "993: .8byte 990b\n"
      ".8byte _.stapsdt.base\n"
      ".8byte 0\n"
      ".asciz \"skep_test\"\n"
      ".asciz \"hit\"\n"
      ".asciz \"-4@%0 8@%1\"\n"
      "994: .balign 4\n"
      ".popsection\n"
      ".ifndef _.stapsdt.base\n"
      ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"
      ".weak _.stapsdt.base\n"
      ".hidden _.stapsdt.base\n"
      "_.stapsdt.base: .space 1\n"
      ".size _.stapsdt.base, 1\n"
      ".popsection\n"
      ".endif\n" ::"r"(number), "r"(text));
}
"""

STATIC_PROBE = """from bcc import BPF, USDT
import ctypes, os, sys
library = ctypes.CDLL(sys.argv[1])
usdt = USDT(path=sys.argv[1], pid=os.getpid())
probe, = usdt.enumerate_probes()
print(probe.short_name(), probe.num_arguments, usdt.get_probe_arg_ctype("hit", 0))
usdt.enable_probe("skep_test:hit", "on_hit")
b = BPF(text='''struct event { s64 number; char text[8]; };
BPF_PERF_OUTPUT(events);
int on_hit(struct pt_regs *ctx) {
  struct event e = {};
  int number = 0;
  bpf_usdt_readarg(1, ctx, &number);
  e.number = number;
  bpf_usdt_readarg_p(2, ctx, &e.text, sizeof(e.text));
  events.perf_submit(ctx, &e, sizeof(e));
  return 0;
}''', usdt_contexts=[usdt])
print(b.num_open_uprobes())
b["events"].open_perf_buffer(lambda cpu, data, size: print(b["events"].event(data).number, b["events"].event(data).text))
library.skep_test_hit(-5, b"text")
b.perf_buffer_poll(1000)
try:
    usdt.enable_probe("no_such", "on_hit")
except Exception as error:
    print(type(error).__name__)
"""

# A program that reads no argument has no map of where they are.
HIT_COUNTED = """from bcc import BPF, USDT
import ctypes, os, sys
library = ctypes.CDLL(sys.argv[1])
usdt = USDT(path=sys.argv[1], pid=os.getpid())
usdt.enable_probe("hit", "on_hit")
b = BPF(text='BPF_ARRAY(hits, u64, 1); int on_hit(void *ctx) { hits.increment(0); return 0; }', usdt_contexts=[usdt])
for i in range(3):
    library.skep_test_hit(i, b"text")
print(b["hits"][0].value)
"""

COUNTERS = """from bcc import BPF, PerfSWConfig, PerfType
b = BPF(text='''BPF_ARRAY(runs, u64, 2);
BPF_PERF_ARRAY(clock, 64);
int on_sample(struct bpf_perf_event_data *ctx) { runs.increment(0); return 0; }
int on_getpgid(void *ctx) {
  u64 now = clock.perf_read(CUR_CPU_IDENTIFIER);
  if ((s64)now > 0) runs.increment(1);
  return 0;
}''')
b.attach_perf_event(ev_type=PerfType.SOFTWARE, ev_config=PerfSWConfig.CPU_CLOCK, fn_name="on_sample", sample_freq=500)
import os, time
end = time.monotonic() + 10
while b["runs"][0].value == 0 and time.monotonic() < end:
    pass
b.detach_perf_event(PerfType.SOFTWARE, PerfSWConfig.CPU_CLOCK)
print(b["runs"][0].value > 0)
b["clock"].open_perf_event(PerfType.SOFTWARE, PerfSWConfig.CPU_CLOCK)
b.attach_tracepoint(tp="syscalls:sys_enter_getpgid", fn_name="on_getpgid")
os.getpgid(0)
print(b["runs"][1].value > 0)
b["runs"].clear()
b.attach_perf_event(ev_type=PerfType.SOFTWARE, ev_config=PerfSWConfig.CPU_CLOCK, fn_name="on_sample", sample_freq=500, cpu=0)
os.sched_setaffinity(0, {0})
while b["runs"][0].value == 0 and time.monotonic() < end:
    pass
print(b["runs"][0].value > 0)
"""

SYMBOLS = """from bcc import BPF
import ctypes, os
print(BPF.ksym(BPF.ksymname("vfs_read") + 5, show_module=True, show_offset=True))
getpid = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p).value
print(BPF.sym(getpid, os.getpid(), show_module=True).split(b" ")[1:])
print(BPF.sym(1, os.getpid()))
"""

STACKS = """from bcc import BPF
import ctypes, os
b = BPF(text='''BPF_STACK_TRACE(stacks, 128);
BPF_HASH(seen, u32, int);
int on_getpgid(void *ctx) {
  u32 pid = bpf_get_current_pid_tgid() >> 32;
  int id = stacks.get_stackid(ctx, BPF_F_USER_STACK);
  seen.update(&pid, &id);
  return 0;
}''')
b.attach_tracepoint(tp="syscalls:sys_enter_getpgid", fn_name="on_getpgid")
os.getpgid(0)
stack = b["seen"][ctypes.c_uint(os.getpid())].value
print(stack >= 0)
names = list(b["stacks"].walk(stack, lambda address: BPF.sym(address, os.getpid())))
print(any(b"getpgid" in name for name in names), len(names) > 1)
print(list(b["stacks"].walk(-14)))
b["stacks"].clear()
print(len(b["stacks"]))
"""

TAIL_CALLS = """from bcc import BPF
import os
b = BPF(text='''BPF_PROG_ARRAY(tails, 4);
BPF_HASH(seen, u32, u64);
int first(void *ctx) { tails.call(ctx, 2); return 0; }
int second(void *ctx) { seen.increment(bpf_get_current_pid_tgid() >> 32); return 0; }''')
second = b.load_func("second", BPF.TRACEPOINT)
b["tails"][2] = second
b.attach_tracepoint(tp="syscalls:sys_enter_getpgid", fn_name="first")
os.getpgid(0)
del b["tails"][2]
os.getpgid(0)
import ctypes
print(b["seen"][ctypes.c_uint(os.getpid())].value)
b["tails"][1] = ctypes.c_int(second.fd)
print(len(b["tails"]))
"""

TAIL_OF_ANOTHER_KIND = """from bcc import BPF
b = BPF(text='''BPF_PROG_ARRAY(tails, 4);
int first(struct __sk_buff *skb) { tails.call(skb, 2); return 0; }
int second(struct xdp_md *ctx) { return XDP_PASS; }''')
b["tails"][2] = b.load_func("second", BPF.XDP)
try:
    b.load_func("first", BPF.SOCKET_FILTER)
except Exception as error:
    print("program array holds programs of another kind" in str(error))
"""


FUNCTIONS = """from bcc import BPF
for name in (b"vfs_read$", b"^vfs_", b"tcp_v4", b"do_", b"no_such_function"):
    found = BPF.get_kprobe_functions(name)
    assert found == BPF.get_kprobe_functions(b"(?:" + name + b")"), name  # by the other way: a regular expression
    print(len(found) if name != b"do_" else b"do_one_initcall" in found)
with open("/proc/kallsyms") as symbols:
    address = next(int(line.split()[0], 16) for line in symbols if line.endswith(" vfs_read\\n"))
print(BPF.ksymname("vfs_read") == address, BPF.ksymname("no_such_function"))
"""


class KernelEngine(DriverCase):
    def test_functions(self):
        lines = self.driver(FUNCTIONS, before=("--backend", "kernel"), check=0).stdout.splitlines()
        self.assertEqual((lines[0], lines[3:]), ("1", ["True", "0", "True -1"]))
        self.assertGreater(int(lines[1]), 30)
        self.assertGreater(int(lines[2]), 10)

    @classmethod
    def setUpClass(cls):
        need(can_use_kernel_bpf(), "the kernel engine needs CAP_BPF and CAP_PERFMON (root), and a kernel with BTF")
        super().setUpClass()

    def prints(self, driver, *lines, arguments=()):
        result = self.driver(driver, before=["--backend", "kernel"], arguments=arguments)
        self.assertEqual(result.stdout.splitlines(), list(lines), result.stderr)
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_static_probes(self):
        compiler = shutil.which("cc")
        need(compiler and os.uname().machine == "x86_64", "a C compiler makes a library with a static probe")
        library = self.directory / "libprobed.so"
        subprocess.run([compiler, "-x", "c", "-shared", "-fPIC", "-O1", "-o", library, "-"], input=PROBED, text=True, check=True)
        self.prints(STATIC_PROBE, "skep_test:hit 2 int32_t", "1", "-5 b'text'", "USDTException", arguments=[library])
        self.prints(HIT_COUNTED, "3", arguments=[library])

    def test_counters(self):
        """A program that a counter runs, one that reads a counter, and a counter of one CPU."""
        self.prints(COUNTERS, "True", "True", "True")

    def test_symbols(self):
        self.prints(SYMBOLS, "b'vfs_read+0x5 [kernel]'", "[b'[libc.so.6]']", "b'[unknown]'")

    def test_stacks(self):
        self.prints(STACKS, "True", "True True", "[]", "0")

    def test_tail_calls(self):
        self.prints(TAIL_CALLS, "1", "4")
        self.prints(TAIL_OF_ANOTHER_KIND, "True")


if __name__ == "__main__":
    main()
