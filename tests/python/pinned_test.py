"""BPF_TABLE_PINNED: a table that lies at a path, made by whoever comes first; BCC's --cgroupmap and --mntnsmap on it."""
import ctypes
import os
import pathlib
import signal
import subprocess
import sys
import time
import unittest

from common import DriverCase, can_use_kernel_bpf, main, need

DRIVER = """
from bcc import BPF
b = BPF(text='BPF_TABLE_PINNED("hash", u64, u32, chosen, 1024, "%s"); int f(void *ctx) { u64 k = 1; return chosen.lookup(&k) != 0; }')
b.load_func("f", BPF.RAW_TRACEPOINT)
t = b["chosen"]
print(sorted((k.value, v.value) for k, v in t.items()))
t[t.Key(7)] = t.Leaf(8)
"""
OPENSNOOP = "/usr/sbin/opensnoop-bpfcc"


@unittest.skipUnless(can_use_kernel_bpf(), "takes root and a kernel with BTF")
class Pinned(DriverCase):
    def path(self, name):
        path = f"/sys/fs/bpf/skep_test_{name}_{os.getpid()}"
        self.addCleanup(lambda: os.path.exists(path) and os.unlink(path))
        return path

    def create(self, path, value=4, entries=128):
        self.skep("map", "create", path, "type", "hash", "key", 8, "value", value, "entries", entries, "name", "of_a_user", check=0)

    def run_driver(self, path):
        return self.driver(DRIVER % path, before=("--backend", "kernel"))

    def test_a_map_that_is_there(self):
        """Under another name than the table's, and of another size."""
        path = self.path("there")
        self.create(path)
        self.skep("map", "update", "pinned", path, "key", 1, "value", 2, check=0)
        result = self.run_driver(path)
        self.assertEqual((result.returncode, result.stdout), (0, "[(1, 2)]\n"), result.stderr)
        self.assertEqual(self.skep("map", "lookup", "pinned", path, "key", 7, check=0).stdout.count("08"), 1)

    def test_a_map_that_is_not_there_yet(self):
        path = self.path("new")
        self.assertEqual(self.run_driver(path).stdout, "[]\n")
        self.assertEqual(self.run_driver(path).stdout, "[(7, 8)]\n", "it stays when its maker ends")

    def test_another_kind_of_map(self):
        path = self.path("other")
        self.create(path, value=8)
        result = self.run_driver(path)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn(f"{path} holds another map (hash, key 8, value 8, 128 entries)", result.stderr)

    def test_the_user_engine_says_that_it_has_none(self):
        source = self.write("pinned.c", 'BPF_TABLE_PINNED("hash", u64, u32, chosen, 8, "/sys/fs/bpf/skep_test_none");\n'
                            'int f(void *ctx) { u64 k = 1; return chosen.lookup(&k) != 0; }\n')
        result = self.skep("run", source, "--program", "f", "--attach", "syscall:getppid", "--", "true", check=0)
        self.assertIn("only maps of the kernel are pinned", result.stderr)
        self.assertFalse(os.path.exists("/sys/fs/bpf/skep_test_none"))

    def opened_by(self, option, path, inside, outside):
        """What Debian's opensnoop shows of two processes that open a file when a byte comes."""
        tool = self.start("python", "--backend", "kernel", OPENSNOOP, option, path)
        self.assertIn("PATH", tool.stdout.readline() or tool.stderr.read())
        time.sleep(0.3)
        for process in outside, inside:
            process.stdin.write(b"x")
            process.stdin.close()
            process.wait()
        time.sleep(0.5)
        tool.send_signal(signal.SIGINT)
        out = tool.communicate(timeout=30)[0]
        return [line.split()[-1] for line in out.splitlines() if "/nowhere/" in line]

    def waiting(self, name, enter=None):
        process = subprocess.Popen([sys.executable, "-I", "-S", "-c", f"import os, sys\nsys.stdin.read(1)\ntry: os.open('/nowhere/{name}', 0)\nexcept OSError: pass\n"],
                                   stdin=subprocess.PIPE, preexec_fn=enter)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_bccs_opensnoop_in_a_mount_namespace(self):
        need(os.path.exists(OPENSNOOP), "BCC's tools are not installed (Debian package bpfcc-tools)")
        path = self.path("mounts")
        self.create(path)
        inside, outside = self.waiting("inside", lambda: ctypes.CDLL(None).unshare(0x20000)), self.waiting("outside")
        self.skep("map", "update", "pinned", path, "key", os.stat(f"/proc/{inside.pid}/ns/mnt").st_ino, "value", 0, check=0)
        self.assertEqual(self.opened_by("--mntnsmap", path, inside, outside), ["/nowhere/inside"])

    def test_bccs_opensnoop_in_a_control_group(self):
        need(os.path.exists(OPENSNOOP), "BCC's tools are not installed (Debian package bpfcc-tools)")
        roots = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup2 " in line]
        need(roots and os.access(roots[0], os.W_OK), "a cgroup2 hierarchy that may be written is not mounted here")
        group = pathlib.Path(roots[0], f"skep-test-pinned-{os.getpid()}")
        group.mkdir()
        self.addCleanup(group.rmdir)
        path = self.path("groups")
        self.create(path, value=8)
        self.skep("map", "update", "pinned", path, "key", group.stat().st_ino, "value", 0, check=0)
        inside, outside = self.waiting("inside", lambda: (group / "cgroup.procs").write_text(str(os.getpid()))), self.waiting("outside")
        self.assertEqual(self.opened_by("--cgroupmap", path, inside, outside), ["/nowhere/inside"])


if __name__ == "__main__":
    main()
