"""What the tests of the kernel's objects share: pins of their own, and bpftool as the other side."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from support import Case, can_use_kernel_bpf, need

BPFFS = pathlib.Path("/sys/fs/bpf")
BPFTOOL = shutil.which("bpftool", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")

# Facts that change between two looks, or that only one side knows (see the tests of `why` for who holds what).
MOVING = {"run_time_ns", "run_cnt", "recursion_misses", "pids", "loaded_at"}


def bpffs_is_mounted():
    with open("/proc/self/mountinfo") as mounts:
        return any(" - bpf " in line and f" {BPFFS} " in line for line in mounts)


def bpftool(*arguments):
    if BPFTOOL is None:
        raise unittest.SkipTest("bpftool is not installed (Debian package bpftool), the other side of this comparison")
    for _ in range(20):
        result = subprocess.run([BPFTOOL, "-j", *map(str, arguments)], text=True, capture_output=True, timeout=60)
        # Its lists end where somebody is just making a link: the kernel says EAGAIN of that one.
        if "Resource temporarily unavailable" not in result.stdout + result.stderr:
            break
    return json.loads(result.stdout) if result.stdout.strip() else None


class KernelInspection(Case):
    @classmethod
    def setUpClass(cls):
        need(can_use_kernel_bpf(), "CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN): the kernel's objects cannot be used here")
        need(os.geteuid() == 0 and bpffs_is_mounted(), "root and a bpffs at /sys/fs/bpf: nothing can be pinned here")
        super().setUpClass()
        cls.pins = pathlib.Path(tempfile.mkdtemp(prefix="skep_e2e_", dir=BPFFS))

    @classmethod
    def tearDownClass(cls):
        for path in sorted(cls.pins.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        cls.pins.rmdir()
        super().tearDownClass()

    def json(self, *arguments, check=0):
        return json.loads(self.skep(*arguments, "-j", check=check).stdout)

    def make_map(self, name, kind, key, value, entries, *more):
        path = self.pins / name
        self.skep("map", "create", path, "type", kind, "key", key, "value", value, "entries", entries, "name", name, *more, check=0)
        self.addCleanup(lambda: path.unlink(missing_ok=True))
        return ("pinned", path)

    def quiet(self):
        """A program that is attached and does nothing: the hook is the whole machine's, and so is the trace pipe."""
        return self.write("quiet.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("raw_tracepoint/sys_enter") int quiet(void *ctx) { return 0; }
char _license[] SEC("license") = "GPL";
""")

    def same(self, ours, theirs, place):
        """Every key of bpftool's with its value; ours may have more."""
        for key, value in theirs.items():
            if key not in MOVING:
                self.assertIn(key, ours, f"{place}: bpftool says {key} = {value}")
                self.assertEqual(ours[key], value, f"{place}: {key}")
        self.assertEqual([k for k in ours if k in theirs], [k for k in theirs if k in ours], f"{place}: order of keys")
