"""--cgroupmap and --mntnsmap: of two processes that do the same, only the one that is in the map is shown."""
import ctypes
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time
import unittest

import support

TOOLS = "bindsnoop capable execsnoop mountsnoop opensnoop profile tcpaccept tcpconnect tcptop tcptracer".split()
NEW_MOUNTS = 0x20000

# Something that each of the tools shows, under the process's own number, when standard input says so.
WORKLOAD = """
    import ctypes, os, socket, sys, time
    sys.stdin.readline()
    libc = ctypes.CDLL(None)
    os.close(os.open("/dev/null", os.O_RDONLY))
    libc.mount(b"none", b"/nowhere", b"tmpfs", 0, None)
    server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen(1)
    client = socket.create_connection(server.getsockname()); peer = server.accept()[0]
    client.sendall(bytes(50000)); peer.recv(50000); client.close(); peer.close()
    end = time.monotonic() + 0.3
    while time.monotonic() < end: pass
    os.execv("/bin/true", ["true"])
    """


def cgroup2_root():
    mounts = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    roots = [line.split()[4] for line in mounts if " - cgroup2 " in line]
    return roots[0] if roots and os.access(roots[0], os.W_OK) else None


def mount_namespace(pid):
    return os.stat(f"/proc/{pid}/ns/mnt").st_ino


class Containers(support.Case):
    @classmethod
    def setUpClass(cls):
        support.need(support.can_use_kernel_bpf(), "left out: it takes root and a kernel with BTF")
        super().setUpClass()
        cls.cgroups = f"/sys/fs/bpf/skep_test_cgroups_{os.getpid()}"
        cls.mounts = f"/sys/fs/bpf/skep_test_mounts_{os.getpid()}"

    def setUp(self):
        for path, value, name in (self.cgroups, 8, "cgroupset"), (self.mounts, 4, "mount_ns_set"):
            self.skep("map", "create", path, "type", "hash", "key", 8, "value", value, "entries", 128, "name", name, check=0)
            self.addCleanup(os.unlink, path)

    def cgroup(self):
        """A cgroup of this test's own, and its number."""
        root = cgroup2_root()
        support.need(root, "left out: a cgroup2 hierarchy that may be written is not mounted here")
        path = pathlib.Path(root, f"skep-test-{os.getpid()}")
        path.mkdir()

        def remove():
            deadline = time.monotonic() + 5
            while True:
                try:
                    return path.rmdir()
                except OSError:  # its last process is still ending
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)
        self.addCleanup(remove)
        return path, path.stat().st_ino

    def waiting(self, enter=None):
        """A process that runs the workload when it is told to."""
        process = subprocess.Popen([sys.executable, "-I", "-S", "-c", textwrap.dedent(WORKLOAD)], stdin=subprocess.PIPE, text=True, preexec_fn=enter)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def work(self, process):
        process.stdin.write("go\n")
        process.stdin.close()
        self.assertEqual(process.wait(), 0)

    def shown(self, tool, inside, outside, *options):
        """Which of the two processes the tool shows while both do their work."""
        running = self.attached(tool, "-j", *options)
        self.work(outside)
        self.work(inside)
        out = self.interrupted(running)
        return {row["pid"] for row in map(json.loads, out.splitlines())} & {inside.pid, outside.pid}

    def test_a_cgroup(self):
        path, number = self.cgroup()
        self.skep("map", "update", "pinned", self.cgroups, "key", number, "value", 0, check=0)
        for tool in TOOLS:
            with self.subTest(tool=tool):
                inside = self.waiting(lambda: pathlib.Path(path, "cgroup.procs").write_text(str(os.getpid())))
                outside = self.waiting()
                self.assertEqual(self.shown(tool, inside, outside, "--cgroupmap", self.cgroups), {inside.pid})

    def test_a_mount_namespace(self):
        for tool in TOOLS:
            with self.subTest(tool=tool):
                inside, outside = self.waiting(lambda: ctypes.CDLL(None).unshare(NEW_MOUNTS)), self.waiting()
                self.assertNotEqual(mount_namespace(inside.pid), mount_namespace(outside.pid))
                self.skep("map", "update", "pinned", self.mounts, "key", mount_namespace(inside.pid), "value", 0, check=0)
                self.assertEqual(self.shown(tool, inside, outside, "--mntnsmap", self.mounts), {inside.pid})

    def test_without_the_options_both(self):
        inside, outside = self.waiting(), self.waiting()
        self.assertEqual(self.shown("opensnoop", inside, outside), {inside.pid, outside.pid})

    def test_the_user_engine_follows_the_map(self):
        """A child puts its new mount namespace into the map while it is observed: from then on it is shown."""
        script = self.write("child.py", textwrap.dedent(f"""
            import ctypes, os, subprocess, time
            def look(name):
                try: os.open(name, os.O_RDONLY)
                except OSError: pass
            if os.fork() == 0:
                ctypes.CDLL(None).unshare({NEW_MOUNTS})
                look("/nowhere/before")
                subprocess.run([{support.SKEP!r}, "map", "update", "pinned", {self.mounts!r}, "key", str(os.stat("/proc/self/ns/mnt").st_ino), "value", "0"], check=True)
                time.sleep(1)
                look("/nowhere/inside")
                os._exit(0)
            os.wait()
            look("/nowhere/outside")
            """))
        result = self.skep("opensnoop", "-j", "--backend", "user", "--mntnsmap", self.mounts, "--", sys.executable, "-I", "-S", script, check=0)
        paths = [json.loads(line)["path"] for line in result.stdout.splitlines() if line.startswith("{")]
        self.assertEqual([path for path in paths if path.startswith("/nowhere/")], ["/nowhere/inside"])

    def test_what_is_no_such_map(self):
        for options, words in [(["--cgroupmap", self.mounts], "keys of 8 bytes and values of 4; expected hash, 8 and 8"),
                               (["--mntnsmap", self.cgroups], f"skep map create {self.cgroups} type hash key 8 value 4"),
                               (["--cgroupmap", "/sys/fs/bpf/skep_test_nothing"], "--cgroupmap: /sys/fs/bpf/skep_test_nothing: nothing is pinned there"),
                               (["--mntnsmap", str(self.directory)], "is not in a bpffs")]:
            for engine in ["--backend", "kernel"], ["--", "true"]:
                result = self.skep("opensnoop", *options, *engine)
                self.assertIn(result.returncode, (1, 2), result.stdout)
                self.assertIn(words, result.stderr)
        program = f"/sys/fs/bpf/skep_test_program_{os.getpid()}"
        source = self.write("pass.s", "r0 = 2\nexit\n")
        if self.skep("asm", source, "--type", "xdp", "-o", str(self.directory / "pass.o")).returncode == 0:
            self.skep("prog", "load", str(self.directory / "pass.o"), program, check=0)
            self.addCleanup(os.unlink, program)
            self.assertIn("what is pinned there is no map", self.skep("opensnoop", "--cgroupmap", program, "--backend", "kernel").stderr)


if __name__ == "__main__":
    support.main()
