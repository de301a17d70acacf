"""import skep: the package's own interface, on the user engine."""
import ctypes
import os
import subprocess
import unittest

import common
import skep

COUNT = """
struct event { unsigned pid; char comm[16]; };
BPF_HASH(counts, u32, u64);
BPF_RINGBUF_OUTPUT(events, 8);
int on_exec(void *ctx) {
  u32 pid = bpf_get_current_pid_tgid() >> 32;
  struct event e = {.pid = pid};
  bpf_get_current_comm(&e.comm, sizeof(e.comm));
  counts.increment(pid);
  events.ringbuf_output(&e, sizeof(e), 0);
  bpf_trace_printk("seen %d", pid);
  return 0;
}
"""


class Modern(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        common.need_clang()

    def test_maps_records_and_lines(self):
        with skep.compile(COUNT) as program:
            self.assertEqual(list(program.programs), ["on_exec"])
            with program["on_exec"].attach("syscall:execve"), program.ring("events") as ring:
                with program.run("sh", "-c", "/bin/true; /bin/true") as run:
                    records = list(ring)
                    lines = list(program.trace())
                self.assertEqual(run.wait(), 0)
            counts = program.maps["counts"]
            self.assertEqual([record.value.comm for record in records[1:]], [b"sh", b"sh"])
            self.assertEqual(sorted(counts), sorted(record.value.pid for record in records))
            self.assertEqual(set(counts.values()), {1})
            self.assertEqual([line.rsplit(": ", 1)[1] for line in lines], ["seen %d" % record.value.pid for record in records])
            taken = counts.take_all()
            self.assertEqual((len(taken), len(counts)), (3, 0))
            self.assertEqual(program["on_exec"].runs, 3)
            self.assertEqual(ring.lost, 0)

    def test_maps_are_dictionaries(self):
        with skep.compile(COUNT) as program:
            counts = program.maps["counts"]
            counts[1] = 10
            counts.update({2: 20, 3: 30})
            self.assertEqual(dict(counts.items()), {1: 10, 2: 20, 3: 30})
            self.assertEqual((counts[2], 4 in counts, counts.get(4)), (20, False, None))
            self.assertEqual(counts.take(3), 30)
            del counts[1]
            with self.assertRaises(KeyError):
                del counts[1]
            with self.assertRaises(KeyError):
                counts.take(1)
            self.assertEqual(counts.pop(2), 20)

    def test_errors(self):
        with self.assertRaises(skep.Error) as raised:
            skep.compile("int f(void *ctx) { return nonsense; }")
        self.assertIn("nonsense", str(raised.exception))
        with skep.compile(COUNT) as program:
            with self.assertRaises(KeyError):
                program["on_exit"]
            with self.assertRaises(skep.Error):
                program["on_exec"].attach()
            with self.assertRaises(skep.Error):
                program.run("/bin/true")  # nothing is attached
        with self.assertRaises(skep.Error):
            skep.load("/nowhere.bpf.c")

    def test_a_program_on_given_input(self):
        with skep.compile("int f(struct __sk_buff *skb) { return skb->len; }") as program:
            program["f"].load(type=1)  # BPF_PROG_TYPE_SOCKET_FILTER
            result = program["f"].test_run(data=bytes(100))
            self.assertEqual(result.value, 86)  # without the Ethernet header, as the kernel counts for this type
            self.assertIn("exit", program["f"].text())

    def test_stacks_have_names(self):
        libc = ctypes.CDLL(None)
        address = ctypes.cast(libc.getppid, ctypes.c_void_p).value
        with skep.Symbolizer() as symbols:
            frames = symbols.stack([address + 1, address + 2, 0, address], pid=os.getpid())
            self.assertEqual([frame.address for frame in frames if not frame.inlined], [address + 1, address + 2])
            for frame in frames:
                self.assertIn("getppid", frame.name)
                self.assertIn("libc", frame.module)
            self.assertEqual([frame.offset for frame in frames if not frame.inlined], [1, 2])
            self.assertEqual(symbols.stack([]), [])
            self.assertEqual([frame.name for frame in symbols.stack([1], pid=os.getpid())], [""])
            with subprocess.Popen(["sleep", "60"]) as child:
                self.assertTrue(symbols.remember(child.pid))
                child.kill()
            self.assertFalse(symbols.remember(child.pid))
        with self.assertRaises(skep.Error):
            symbols.stack([address], pid=os.getpid())  # closed

    def test_the_example(self):
        driver = common.EXAMPLES / "execs.py"
        answer = subprocess.run([os.environ["SKEP"], "python", "--backend", "kernel", driver, "sh", "-c", "/bin/true"],
                                capture_output=True, text=True, timeout=60)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        self.assertEqual([line.split()[0::2] for line in answer.stdout.splitlines()][1:], [["sh", "/bin/true"]], answer.stdout)

    def test_version(self):
        self.assertRegex(skep.version(), r"^\d+\.\d+\.\d+$")
        self.assertTrue(os.path.exists(os.path.join(os.path.dirname(skep.__file__), "py.typed")))


if __name__ == "__main__":
    common.main()
