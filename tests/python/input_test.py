"""What a driver can do wrong, and what it is told then."""
import os

from common import DriverCase, can_use_kernel_bpf, main, need, while_the_pipe_is_taken

HELLO = 'int hello(void *ctx) { bpf_trace_printk("hi"); return 0; }\\n'


class UserEngine(DriverCase):
    def refused(self, text, *expected, command=("/bin/true",), status=1):
        """The driver ends with an exception whose message holds what is expected."""
        result = self.driver("from bcc import BPF\n" + text, *command)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        for part in expected:
            self.assertIn(part, result.stderr)
        self.assertNotIn("_driver.py", result.stderr, "the traceback is the driver's own")
        return result

    def test_wrong_c(self):
        self.refused("""BPF(text='int f(void *ctx) { return nonsense; }')""",
                     "Failed to compile BPF module <text>", "program.c:1", "nonsense")

    def test_a_program_that_cannot_be_proved_safe(self):
        self.refused("""b = BPF(text='int f(void *ctx) { return *(int *)0; }')
b.attach_kprobe(event=b.get_syscall_fnname("execve"), fn_name="f")""", "Failed to load BPF program f")

    def test_missing_function(self):
        self.refused(f"""b = BPF(text='{HELLO}')
b.attach_kprobe(event=b.get_syscall_fnname("execve"), fn_name="helo")""", "Unknown program helo", "hello")

    def test_unknown_event(self):
        self.refused(f"""b = BPF(text='{HELLO}')
b.attach_kprobe(event="no_such_function", fn_name="hello")""", "Failed to attach BPF program hello", "no_such_function")
        self.refused(f"""b = BPF(text='{HELLO}')
b.attach_kprobe(event_re="^no_such_function_.*", fn_name="hello")""", "no kernel function matches")
        self.refused(f"""b = BPF(text='{HELLO}')
b.attach_tracepoint(tp="not a tracepoint", fn_name="hello")""", "expected category:event")

    def test_a_driver_that_closes_its_output(self):
        result = self.driver("import sys\nfrom bcc import BPF\nprint('said', flush=True)\nsys.stdout.close()")
        self.assertEqual((result.stdout, result.stderr, result.returncode), ("said\n", "", 0))

    def test_missing_file(self):
        self.refused("""BPF(src_file="nowhere.c")""", "Could not find file nowhere.c")

    def test_a_table_of_the_wrong_type(self):
        self.refused("""b = BPF(text='BPF_HASH(counts); int f(void *ctx) { return 0; }')
b["counts"].open_perf_buffer(print)""", "'HashTable' object has no attribute 'open_perf_buffer'")
        self.refused("""b = BPF(text='BPF_PERF_OUTPUT(events); int f(void *ctx) { return 0; }')
b["events"].open_perf_buffer(print, page_cnt=3)""", "power of two")

    def test_attaching_twice_counts_once(self):
        result = self.driver(f"""from bcc import BPF
b = BPF(text='{HELLO}')
name = b.get_syscall_fnname("execve")
b.attach_kprobe(event=name, fn_name="hello")
b.attach_kprobe(event=name, fn_name="hello")
print(b.num_open_kprobes())
b.trace_print()
""", "sh", "-c", "/bin/true", check=0)
        self.assertTrue(result.stdout.startswith("1\n"), result.stdout)
        self.assertEqual(result.stdout.count("bpf_trace_printk: hi"), 2, result.stdout)

    def test_detach(self):
        self.refused(f"""b = BPF(text='{HELLO}')
name = b.get_syscall_fnname("execve")
b.attach_kprobe(event=name, fn_name="hello")
b.detach_kprobe(event=name)
assert b.num_open_kprobes() == 0
b.detach_kprobe(event=name)""", "is not attached")

    def test_names_of_functions_attach_by_themselves(self):
        result = self.driver("""from bcc import BPF
b = BPF(text='int kprobe__sys_execve(void *ctx) { bpf_trace_printk("auto"); return 0; }')
print(b.num_open_kprobes())
print(b.trace_fields()[5])
""", "/bin/true", check=0)
        self.assertEqual(result.stdout.splitlines(), ["1", "b'auto'"])

    def test_what_a_callback_raises_reaches_the_driver(self):
        result = self.driver("""import ctypes
from bcc import BPF
b = BPF(text='''BPF_PERF_OUTPUT(events);
int f(void *ctx) { u32 pid = bpf_get_current_pid_tgid() >> 32; events.perf_submit(ctx, &pid, sizeof(pid)); return 0; }''')
b.attach_kprobe(event=b.get_syscall_fnname("execve"), fn_name="f")
def callback(cpu, data, size):
    print(ctypes.cast(data, ctypes.POINTER(ctypes.c_uint32)).contents.value, flush=True)
    raise ValueError("from the callback")
b["events"].open_perf_buffer(callback)
for _ in range(2):
    try:
        b.perf_buffer_poll()
    except ValueError as error:
        print(error)
""", "sh", "-c", "/bin/true", check=0)
        lines = result.stdout.splitlines()
        self.assertEqual([lines[1], lines[3]], ["from the callback"] * 2, result.stdout)
        self.assertNotEqual(lines[0], lines[2], "the second record was kept")

    def test_records_of_a_ring_buffer(self):
        result = self.driver("""from bcc import BPF
b = BPF(text='''struct event { u32 pid; char comm[16]; };
BPF_RINGBUF_OUTPUT(events, 8);
int f(void *ctx) {
  struct event e = {};
  e.pid = bpf_get_current_pid_tgid() >> 32;
  bpf_get_current_comm(&e.comm, sizeof(e.comm));
  events.ringbuf_output(&e, sizeof(e), 0);
  return 0;
}''')
b.attach_kprobe(event=b.get_syscall_fnname("execve"), fn_name="f")
def callback(ctx, data, size):
    event = b["events"].event(data)
    print(ctx, event.pid > 0, event.comm)
b["events"].open_ring_buffer(callback, "context")
while True:
    b.ring_buffer_poll()
""", "sh", "-c", "/bin/true", check=0)
        self.assertEqual(result.stdout.splitlines()[1:], ["context True b'sh'"])

    def test_arguments_reach_the_driver(self):
        result = self.driver("import sys; print(sys.argv[1:], __name__)", "/bin/true", arguments=["-n", "a b", "--backend"])
        self.assertEqual(result.stdout, "['-n', 'a b', '--backend'] __main__\n")
        self.assertIn("the command was not started", result.stderr)

    def test_wrong_use_of_the_verb(self):
        for words, expected in ((["python"], "DRIVER is required"), (["python", "nowhere.py"], "nowhere.py"),
                                (["python", "--backend", "user", __file__], "the user engine observes a command"),
                                (["python", __file__, "--"], "followed by a command")):
            result = self.skep(*words)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn(expected, result.stderr)

    def test_names_that_are_no_text(self):
        """A file name may hold any bytes."""
        result = self.driver("""from bcc import BPF
from bcc.utils import printb
b = BPF(text='''BPF_PERF_OUTPUT(events);
struct event { char name[64]; };
int f(struct pt_regs *ctx) {
  struct event e = {};
  struct pt_regs *regs = (struct pt_regs *)PT_REGS_PARM1(ctx);
  bpf_probe_read_user_str(e.name, sizeof(e.name), (void *)PT_REGS_PARM2_CORE(regs));
  events.perf_submit(ctx, &e, sizeof(e));
  return 0;
}''')
b.attach_kprobe(event=b.get_syscall_fnname("openat"), fn_name="f")
b["events"].open_perf_buffer(lambda cpu, data, size: printb(b["events"].event(data).name))
while True:
    b.perf_buffer_poll()
""".replace("(void *)PT_REGS_PARM2_CORE(regs)", "(void *)name").replace(
            "  struct pt_regs *regs = (struct pt_regs *)PT_REGS_PARM1(ctx);\n",
            "  struct pt_regs regs; bpf_probe_read_kernel(&regs, sizeof(regs), (void *)PT_REGS_PARM1(ctx));\n"
            "  unsigned long name = PT_REGS_PARM2(&regs);\n"),
                             "sh", "-c", "cat \"$(printf '/no/\\377\\n\\033such')\"", env=dict(self.environment))
        self.assertIn("/no/", result.stdout)
        self.assertEqual(result.returncode, 1, result.stderr)


class KernelEngine(DriverCase):
    @classmethod
    def setUpClass(cls):
        need(can_use_kernel_bpf(), "the kernel engine needs CAP_BPF and CAP_PERFMON (root), and a kernel with BTF")
        super().setUpClass()

    def test_without_privileges(self):
        result = self.driver("from bcc import BPF\nBPF(text='int f(void *ctx) { return 0; }')", user="nobody",
                             env=dict(self.environment, XDG_CACHE_HOME="", HOME="/nonexistent"))
        self.assertEqual(result.returncode, 1)
        self.assertIn("CAP_BPF", result.stderr)

    def test_tracepoints_and_functions(self):
        result = while_the_pipe_is_taken(lambda: self.driver("""from bcc import BPF
b = BPF(text='TRACEPOINT_PROBE(syscalls, sys_enter_getpid) { bpf_trace_printk("by name"); return 0; }'
             'int other(void *ctx) { bpf_trace_printk("by hand"); return 0; }')
b.attach_tracepoint(tp="syscalls:sys_enter_getppid", fn_name="other")
import os
texts = set()
while len(texts) < 2:
    os.getppid()
    import ctypes
    ctypes.CDLL(None).syscall(39)
    fields = b.trace_fields(nonblocking=True)
    if fields[1] == os.getpid():
        texts.add(fields[5])
print(sorted(texts), b.num_open_tracepoints())
print(len(b.dump_func("other")) % 8, "exit" in b.disassemble_func("other"))
print(b.load_func("other", BPF.TRACEPOINT).fd > 2)
""", before=["--backend", "kernel"]))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout.splitlines(), ["[b'by hand', b'by name'] 2", "0 True", "True"])

    def test_the_machine(self):
        result = self.driver("""from bcc import BPF
print(BPF.kernel_struct_has_field("task_struct", "pid"), BPF.kernel_struct_has_field("task_struct", "no_such"))
print(BPF.tracepoint_exists("sched", "sched_switch"), BPF.tracepoint_exists("sched", "no_such"))
print(BPF.get_kprobe_functions(b"^vfs_read$"), BPF.ksymname("no_such_symbol"))
""", before=["--backend", "kernel"], check=0)
        self.assertEqual(result.stdout.splitlines(), ["1 0", "True False", "{b'vfs_read'} -1"])


if __name__ == "__main__":
    main()
