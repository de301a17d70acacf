"""What only the kernel engine has: counters, symbols, stacks."""
from common import DriverCase, can_use_kernel_bpf, main, need

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


class KernelEngine(DriverCase):
    @classmethod
    def setUpClass(cls):
        need(can_use_kernel_bpf(), "the kernel engine needs CAP_BPF and CAP_PERFMON (root), and a kernel with BTF")
        super().setUpClass()

    def prints(self, driver, *lines):
        result = self.driver(driver, before=["--backend", "kernel"])
        self.assertEqual(result.stdout.splitlines(), list(lines), result.stderr)
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_counters(self):
        """A program that a counter runs, one that reads a counter, and a counter of one CPU."""
        self.prints(COUNTERS, "True", "True", "True")

    def test_symbols(self):
        self.prints(SYMBOLS, "b'vfs_read+0x5 [kernel]'", "[b'[libc.so.6]']", "b'[unknown]'")

    def test_stacks(self):
        self.prints(STACKS, "True", "True True", "[]", "0")

    def test_tail_calls(self):
        self.prints(TAIL_CALLS, "1", "4")


if __name__ == "__main__":
    main()
