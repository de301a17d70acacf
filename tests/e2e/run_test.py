"""skep run on the user engine: the seed's programs on real process trees, without root."""
import json
import os
import pathlib
import re
import signal
import subprocess
import time
import unittest

from support import EXAMPLES, TRACE_LINE, Case, demoted, main, need, need_clang


def trace_lines(output):
    return [match for match in (re.match(TRACE_LINE, line) for line in output.splitlines()) if match]


VARIANTS = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <skep/one_of.h>
char LICENSE[] SEC("license") = "GPL";
SEC("?fentry/no_such_function") SKEP_ONE_OF("exec") int by_function(void *ctx) { bpf_printk("by function"); return 0; }
SEC("?tp/syscalls/sys_enter_execve") SKEP_ONE_OF("exec") int by_call(void *ctx) { bpf_printk("by call"); return 0; }
SEC("?tp/syscalls/sys_enter_execve") int only_when_named(void *ctx) { bpf_printk("named"); return 0; }
"""


PATTERNS = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 3); __type(key, __u32); __type(value, __u64); } counts SEC(".maps");
static int count(__u32 key)
{
	__u64 *value = bpf_map_lookup_elem(&counts, &key);
	if (value) __sync_fetch_and_add(value, 1);
	return 0;
}
SEC("uprobe.multi/libc.so.6:getpp*") int calls(void *ctx) { return count(0); }
SEC("uretprobe.multi/libc.so.6:getppid") int returns(void *ctx) { return count(1); }
SEC("uprobe/libc.so.6:getpg*") int others(void *ctx) { return count(2); }
"""
CALLS = "import ctypes; libc = ctypes.CDLL(None); [(libc.getppid(), libc.getpgrp(), libc.getpgid(0)) for i in range(7)]"


class Patterns(Case):
    def test_many_functions_by_one_program(self):
        """getppid by the first two; getpgrp and getpgid by the third."""
        need_clang()
        file = self.directory / "patterns.bpf.c"
        file.write_text(PATTERNS)
        result = self.skep("run", file, "-j", "--", "/usr/bin/python3", "-I", "-S", "-c", CALLS, check=0)
        (counts,) = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
        self.assertEqual([entry["value"] for entry in counts["entries"]], [7, 7, 14], counts)

    def test_nothing_of_that_name(self):
        need_clang()
        file = self.directory / "patterns.bpf.c"
        file.write_text(PATTERNS.replace("getpg*", "gatpg*"))
        result = self.skep("run", file, "--", "true", check=1)
        self.assertIn('no function "gatpg*"', result.stderr)


class Variants(Case):
    def test_the_first_whose_hook_is_there(self):
        need_clang()
        file = self.directory / "variants.bpf.c"
        file.write_text(VARIANTS)
        result = self.skep("run", file, "--", "true", check=0)
        self.assertEqual([line["text"] for line in trace_lines(result.stdout)], ["by call"], result.stdout + result.stderr)
        result = self.skep("run", file, "--program", "only_when_named", "--", "true", check=0)
        self.assertEqual([line["text"] for line in trace_lines(result.stdout)], ["named"], result.stdout + result.stderr)


class Hello(Case):
    @classmethod
    def setUpClass(cls):
        need_clang()
        super().setUpClass()

    def hello(self, *command, **options):
        return self.skep("run", EXAMPLES / "hello.bpf.c", "--program", "hello", "--attach", "syscall:execve", *options.pop("before", []), "--", *command, **options)

    def test_one_line_per_execve(self):
        result = self.hello("sh", "-c", "/bin/true; /bin/true; exec /bin/true", check=0)
        lines = trace_lines(result.stdout)
        self.assertEqual([line["text"] for line in lines], ["Hello World!"] * 4, result.stdout + result.stderr)
        self.assertEqual(lines[0]["pid"], lines[3]["pid"], "the first and the last are the shell's own")
        self.assertEqual(len({line["pid"] for line in lines}), 3)
        times = [float(line["time"]) for line in lines]
        self.assertEqual(times, sorted(times))

    def test_without_root(self):
        need(os.geteuid() == 0, "not root: every other test here runs without root already")
        environment = dict(self.environment, XDG_CACHE_HOME="", HOME="/nonexistent", XDG_RUNTIME_DIR="")
        result = self.hello("sh", "-c", "/bin/true", user="nobody", env=environment, check=0)
        self.assertEqual(len(trace_lines(result.stdout)), 2, result.stdout + result.stderr)

    def test_names_are_no_orders_to_the_terminal(self):
        named = self.directory / "n\x1b[2J"
        os.symlink("/bin/sh", named)
        result = self.hello(named, "-c", "exec /bin/true", check=0)
        self.assertNotIn("\x1b", result.stdout)
        self.assertIn("n?[2J-", result.stdout)

    def test_exit_status_is_the_commands(self):
        for status in (0, 1, 42, 255):
            self.hello("sh", "-c", f"exit {status}", check=status)
        self.assertEqual(self.hello("sh", "-c", "kill -TERM $$").returncode, -signal.SIGTERM)
        self.assertEqual(self.hello("sh", "-c", "kill -KILL $$").returncode, -signal.SIGKILL)
        missing = self.hello("/no/such/command")
        self.assertEqual(missing.returncode, 127, missing.stderr)
        self.assertIn("/no/such/command", missing.stderr)

    def test_the_commands_streams_are_its_own(self):
        result = self.hello("sh", "-c", "cat; echo to-err >&2", input="through\n", check=0)
        self.assertIn("through", result.stdout)
        self.assertIn("to-err", result.stderr)

    def test_json_is_one_object_a_line(self):
        result = self.hello("/bin/true", before=["--json"], check=0)
        objects = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertTrue(any("Hello World!" in json.dumps(item) for item in objects), result.stdout)

    def test_attaching_to_nothing_is_an_error(self):
        result = self.skep("run", EXAMPLES / "hello.bpf.c", "--", "/bin/true")
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("--attach", result.stderr)
        result = self.skep("run", EXAMPLES / "hello.bpf.c", "--attach", "syscall:exceve", "--", "/bin/true")
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("execve", result.stderr, "the nearest name is offered")
        result = self.skep("run", EXAMPLES / "hello.bpf.c", "--attach", "kprobe:do_exit", "--", "/bin/true")
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("kernel", result.stderr)

    def test_bad_files(self):
        for name, text, words in (("empty.c", "", "empty.c: an empty file"), ("broken.c", "int hello(void *ctx) { return x; }\n", "broken.c:1"),
                                  ("garbage.o", "\x7fELF garbage", "garbage.o")):
            result = self.skep("run", self.write(name, text), "--attach", "syscall:execve", "--", "/bin/true")
            self.assertNotEqual(result.returncode, 0, name)
            self.assertIn(words, result.stderr, name)
        result = self.skep("run", self.directory / "absent.c", "--", "/bin/true")
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("absent.c", result.stderr)

    def test_counter_is_printed_at_the_end(self):
        result = self.skep("run", EXAMPLES / "counter.bpf.c", "--attach", "syscall:execve", "--", "sh", "-c", "/bin/true; /bin/true", check=0)
        self.assertRegex(result.stdout, r"counter_table")
        self.assertRegex(result.stdout, rf"(?m)^\s*{os.getuid()}\s+3\b", result.stdout)
        quiet = self.skep("run", EXAMPLES / "counter.bpf.c", "-q", "--attach", "syscall:execve", "--", "/bin/true", check=0)
        self.assertEqual(quiet.stdout, "")

    def test_rows_of_several_maps_name_theirs(self):
        probe = """
struct event { u32 pid; char comm[16]; };
BPF_RINGBUF_OUTPUT(opens, 8);
BPF_RINGBUF_OUTPUT(execs, 8);
"""
        for call, ring in (("openat", "opens"), ("execve", "execs")):
            probe += (f"TRACEPOINT_PROBE(syscalls, sys_enter_{call}) {{ struct event e = {{}}; e.pid = bpf_get_current_pid_tgid() >> 32;"
                      f" bpf_get_current_comm(&e.comm, 16); {ring}.ringbuf_output(&e, sizeof e, 0); return 0; }}\n")
        result = self.skep("run", self.write("two.bpf.c", probe), "--", "/bin/true", check=0)
        self.assertRegex(result.stdout, r"(?m)^MAP +PID +COMM$")
        self.assertRegex(result.stdout, r"(?m)^opens +\d+ +true$")
        self.assertRegex(result.stdout, r"(?m)^execs +\d+ ")

    def test_a_running_process(self):
        target = subprocess.Popen(["sh", "-c", "read x; /bin/true; read x; exit 3"], stdin=subprocess.PIPE)
        self.addCleanup(lambda: (target.kill() if target.poll() is None else None, target.wait(), target.stdin.close()))
        observer = self.start("run", EXAMPLES / "hello.bpf.c", "--attach", "syscall:execve", "-p", str(target.pid))
        deadline = time.monotonic() + 20
        status = pathlib.Path(f"/proc/{target.pid}/status")
        while "TracerPid:\t0" in status.read_text() and time.monotonic() < deadline:
            self.assertIsNone(observer.poll(), observer.stderr.read() if observer.poll() is not None else "")
            time.sleep(0.02)
        target.stdin.write(b"\n")
        target.stdin.flush()
        time.sleep(0.5)
        observer.send_signal(signal.SIGINT)
        out, err = observer.communicate(timeout=20)
        self.assertEqual(len(trace_lines(out)), 1, out + err)
        self.assertIsNone(target.poll(), "the process goes on when the observer leaves")
        target.stdin.write(b"\n")
        target.stdin.flush()
        self.assertEqual(target.wait(timeout=20), 3)

    def test_interrupt_ends_cleanly(self):
        observer = self.start("run", EXAMPLES / "counter.bpf.c", "--attach", "syscall:execve", "--", "sh", "-c", "/bin/true; exec sleep 60", start_new_session=True)
        time.sleep(1.5)
        os.killpg(observer.pid, signal.SIGINT)  # as a terminal does: the command gets it too
        out, err = observer.communicate(timeout=20)
        self.assertEqual(observer.returncode, -signal.SIGINT, err)
        self.assertIn("counter_table", out, err)


if __name__ == "__main__":
    main()
