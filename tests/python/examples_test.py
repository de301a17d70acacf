"""BCC's own examples (Debian package bpfcc-tools), unmodified and without root: what they print of a command that does three of each."""
import pathlib
import re

from common import main, need
from outside_test import Outside

EXAMPLES_OF_BCC = pathlib.Path("/usr/share/doc/bpfcc-tools/examples")
FORKS = """
say('pid', os.getpid())
for i in range(3):
    child = os.fork()
    if child == 0: os._exit(0)
    os.waitpid(child, 0)
"""
SYNCS = "import os\nfor i in range(4): os.sync()\n"
CALLS_OF_STRLEN = """
import ctypes
libc = ctypes.CDLL(None)
for i in range(3): libc.strlen(b'seven..')
"""


class Examples(Outside):
    def example(self, name, workload):
        path = EXAMPLES_OF_BCC / (name + ".py")
        need(path.exists(), f"this machine has no {path} (Debian package bpfcc-tools, and documentation not left out)")
        lines, said = self.observed(str(path), workload)
        return lines, dict(said).get("pid")

    def test_lines_for_each_fork(self):
        """By trace_print(), trace_fields() and perf buffers; the time is that of the first, or of the day."""
        for name, line in (("hello_world", r"b' *\S+-{pid} .*: bpf_trace_printk: Hello, World!'$"),
                           ("tracing/hello_fields", r"\d+\.\d+ +\S+ +{pid} +Hello, World!$"),
                           ("tracing/trace_fields", r"{pid} b'Hello, World!'$"),
                           ("tracing/hello_perf_output", r"\d+\.\d+ +\S+ +{pid} +Hello, perf_output!$"),
                           ("tracing/hello_perf_output_using_ns", r"\d+\.\d+ +\S+ +{pid} +Hello, perf_output!$")):
            with self.subTest(name):
                lines, pid = self.example(name, FORKS)
                found = [one for one in lines if re.search(line.replace("{pid}", str(pid)), one)]
                self.assertEqual(len(found), 3, lines)

    def test_a_counter_and_events_agree(self):
        lines, _ = self.example("tracing/trace_perf_output", FORKS)
        self.assertEqual(lines[-1], "counter = 3 vs 3")

    def test_syncs_in_quick_succession(self):
        lines, _ = self.example("tracing/sync_timing", SYNCS)
        apart = [int(found[1]) for one in lines if (found := re.search(r"multiple syncs detected, last (\d+) ms ago$", one))]
        self.assertIn(len(apart), (1, 2, 3), lines)  # a busy disk takes more than a second now and then
        self.assertLess(max(apart), 1000)

    def test_strings_that_are_measured(self):
        lines, _ = self.example("tracing/strlen_count", CALLS_OF_STRLEN)
        counts = [int(found[1]) for one in lines if (found := re.match(r" *(\d+) \"seven\.\.\"$", one))]
        self.assertTrue(counts and counts[-1] == 3, lines[-20:])


if __name__ == "__main__":
    main()
