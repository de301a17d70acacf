"""Tools whose events are inside of the kernel: each beside a workload of the test's own, whose names, numbers and sizes
must come back; headings as BCC prints them. A tool that this kernel has no hook for must say which one is missing.
"""
import concurrent.futures
import contextlib
import json
import mmap
import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest
import xml.etree.ElementTree

import support

HISTOGRAM_LINE = re.compile(r"^ +(\d+) -> (\d+) +: (\d+) +\|[* ]*\|$")
NO_HOOK = "this kernel has none of the hooks that are needed:"


def busy(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def own_name():
    return pathlib.Path("/proc/self/comm").read_text().strip()


def counted(lines):
    """The counts of a printed histogram."""
    return [int(match[3]) for match in map(HISTOGRAM_LINE.match, lines) if match]


class Programs(unittest.TestCase):
    def test_every_program_is_accepted_by_the_kernels_rules(self):
        """Those for hooks that this kernel does not have, too."""
        support.need(os.path.exists("/sys/kernel/btf/vmlinux"), "left out: this kernel does not describe its types")
        objects = sorted(pathlib.Path(os.environ["SKEP_BUILD"]).glob("generated/tools/*.bpf.o"))
        support.need(objects, "left out: skep was built without clang, and so without tools")

        def verify(path):
            return path.name, subprocess.run([support.SKEP, "verify", "--rules", "kernel", "--no-fix", str(path)], capture_output=True, text=True, timeout=120)

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for name, result in pool.map(verify, objects):
                with self.subTest(tool=name):
                    self.assertEqual(result.returncode, 0, (result.stdout + result.stderr)[-3000:])


class KernelTools(support.Case):
    @classmethod
    def setUpClass(cls):
        support.need(support.can_use_kernel_bpf(), "left out: it takes root and a kernel with BTF")
        super().setUpClass()

    @contextlib.contextmanager
    def running(self, *arguments):
        """The tool, attached, while the block runs; its output afterwards in `.lines`."""
        process = self.start(*arguments)
        process.lines = [process.stdout.readline().rstrip("\n")]
        if not process.lines[0]:
            self.fail(f"{arguments}: {process.stderr.read()}")
        yield process
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        process.lines += out.splitlines()
        process.errors = err
        self.assertEqual(process.returncode, 0, err)

    # ---- files

    def test_fileslower_does_not_tell_of_what_it_prints(self):
        """Each row that it writes into a file would be a write, and a row again."""
        rows = self.directory / "rows"
        with rows.open("wb") as out:
            tool = subprocess.Popen([support.SKEP, "fileslower", "0"], stdout=out, stderr=subprocess.DEVNULL)
            try:
                deadline = time.monotonic() + 10
                while b"own work" not in rows.read_bytes() and time.monotonic() < deadline:
                    (self.directory / "own work").write_bytes(b"x" * 100)
                    time.sleep(0.05)
            finally:
                tool.send_signal(signal.SIGINT)
                tool.wait(timeout=30)
        lines = rows.read_text(errors="replace").splitlines()
        self.assertTrue(any("own work" in line for line in lines), lines[:20])
        self.assertFalse([line for line in lines if str(tool.pid) in line.split() and line.endswith(" rows")], lines[:20])

    # ---- the scheduler

    def test_runqlat(self):
        result = self.skep("runqlat", "0.3", "2", check=0)
        self.assertEqual(result.stdout.splitlines()[0], "Tracing run queue latency... Hit Ctrl-C to end.")
        self.assertIn("     usecs               : count     distribution", result.stdout)
        self.assertGreater(sum(counted(result.stdout.splitlines())), 0)
        # One thread for each CPU and one more: somebody must wait, and only they are counted.
        script = "import os, time\nfor _ in range(os.cpu_count() + 1):\n  if os.fork() == 0:\n    end = time.monotonic() + 0.3\n    while time.monotonic() < end: pass\n    os._exit(0)\nfor _ in range(os.cpu_count() + 1): os.wait()\n"
        result = self.skep("runqlat", "-j", "-P", "--", sys.executable, "-I", "-S", "-c", script, check=0)
        rows = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertGreaterEqual(len(rows), os.cpu_count() + 1, rows)
        self.assertGreater(max(slot["to"] for row in rows for slot in row["histogram"]), 500, rows)

    def test_runqlen(self):
        with self.running("runqlen", "-C") as tool:
            busy(0.3)
        self.assertEqual(tool.lines[0], "Sampling run queue length... Hit Ctrl-C to end.")
        self.assertIn("     runqlen       : count     distribution", tool.lines)
        with self.running("runqlen", "-O") as tool:
            time.sleep(0.2)
        self.assertTrue(any(re.fullmatch(r"runqocc: \d+\.\d\d%", line) for line in tool.lines), tool.lines)

    def sleeps(self, count, seconds):
        """A program that sleeps, and writes how often it left the CPU for it: a timer that fires before the task is off,
        on a machine that stood still in between, makes one less."""
        self.left = self.directory / "left"
        return (f"import resource, time\nleft = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw\nbefore = left()\n"
                f"for _ in range({count}): time.sleep({seconds})\nopen({str(self.left)!r}, 'w').write(str(left() - before))")

    def test_cpudist(self):
        script = self.sleeps(20, 0.01)
        result = self.skep("cpudist", "-O", "-e", "--", sys.executable, "-I", "-S", "-c", script, check=0)
        self.assertEqual(result.stdout.splitlines()[0], "Tracing off-CPU time... Hit Ctrl-C to end.")
        slept = {int(m[1]): int(m[3]) for m in map(HISTOGRAM_LINE.match, result.stdout.splitlines()) if m}
        left = int(self.left.read_text())
        self.assertGreaterEqual(left, 15)
        self.assertGreaterEqual(sum(slept.values()), left, result.stdout)
        self.assertGreaterEqual(sum(count for start, count in slept.items() if start >= 8192), left - 2, result.stdout)
        average, total, count = map(int, re.search(r"avg = (\d+) usecs, total: (\d+) usecs, count: (\d+)", result.stdout).groups())
        self.assertEqual(average, total // count)
        self.assertGreaterEqual(total, 20 * 10000)
        with self.running("cpudist", "-p", str(os.getpid()), "-L") as tool:
            busy(0.1)
            time.sleep(0.01)
        self.assertTrue(any(line == f"tid = {os.getpid()} {own_name()}" for line in tool.lines), tool.lines)

    def test_softirqs(self):
        with self.running("softirqs") as tool:
            busy(0.3)
        self.assertEqual(tool.lines[0], "Tracing soft irq event time... Hit Ctrl-C to end.")
        self.assertIn("%-16s %11s" % ("SOFTIRQ", "TOTAL_usecs"), tool.lines)
        kinds = {line.split()[0]: int(line.split()[1]) for line in tool.lines[3:]}
        self.assertIn("timer", kinds)
        with self.running("softirqs", "-C") as tool:
            busy(0.2)
        self.assertIn("%-16s %11s" % ("SOFTIRQ", "TOTAL_count"), tool.lines)
        with self.running("softirqs", "-d", "-N") as tool:
            busy(0.2)
        self.assertIn("softirq = timer", tool.lines)
        self.assertGreater(sum(counted(tool.lines)), 0)

    def test_hardirqs(self):
        with self.running("hardirqs", "-T") as tool:
            self.write_through(8, 4096)
        self.assertIn("%-26s %11s" % ("HARDIRQ", "TOTAL_usecs"), tool.lines)
        self.assertRegex(tool.lines[2], r"^\d\d:\d\d:\d\d$")
        self.assertEqual(self.skep("hardirqs", "-C", "-d").returncode, 2)

    # ---- block devices

    def write_through(self, writes, size):
        """Writes that go to the device at once. False where the file system has no device."""
        path = self.directory / "direct"
        try:
            fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_DIRECT)
        except OSError:
            return False
        block = mmap.mmap(-1, size)
        for i in range(writes):
            os.pwrite(fd, block, i * size)
        os.close(fd)
        return os.path.exists(f"/sys/dev/block/{os.major(os.stat(path).st_dev)}:{os.minor(os.stat(path).st_dev)}")

    def test_biosnoop(self):
        with self.running("biosnoop", "-Q", "-P") as tool:
            has_device = self.write_through(16, 65536)
            time.sleep(0.05)
        titles = ("TIME(s)", "COMM", "PID", "DISK", "T", "SECTOR", "BYTES", "P", "QUE(ms)", "LAT(ms)")
        self.assertEqual(tool.lines[0], "%-11s %-14s %-7s %-9s %-1s %-10s %-7s %-1s %7s %7s" % titles)
        support.need(has_device, "the rest is left out: the tests' directory is on no block device")
        own = [line.split() for line in tool.lines[1:] if f" {os.getpid()} " in line]
        writes = [row for row in own if row[-6] == "W"]
        self.assertEqual(sum(int(row[-4]) for row in writes), 16 * 65536, tool.lines)
        self.assertTrue(all(0 < float(row[-1]) < 5000 for row in writes), writes)

    def test_biolatency(self):
        with self.running("biolatency") as tool:
            has_device = self.write_through(16, 16384)
            time.sleep(0.05)
        self.assertEqual(tool.lines[0], "Tracing block device I/O... Hit Ctrl-C to end.")
        support.need(has_device, "the rest is left out: the tests' directory is on no block device")
        self.assertGreaterEqual(sum(counted(tool.lines)), 16)
        tool = self.attached("biolatency", "-F", "-j")
        self.write_through(4, 4096)
        rows = [json.loads(line) for line in self.interrupted(tool).splitlines()]
        self.assertIn("Idle-Sync-Write", [row["flags"] for row in rows])
        self.assertIn("no such disk 'nothing'", self.skep("biolatency", "-d", "nothing", check=1).stderr)

    def test_biotop(self):
        with self.running("biotop", "-C", "0.4") as tool:
            has_device = self.write_through(16, 65536)
            time.sleep(0.5)
        self.assertEqual(tool.lines[0], "Tracing... Output every 0.4 secs. Hit Ctrl-C to end")
        self.assertIn("%-7s %-16s %1s %-3s %-3s %-8s %5s %7s %6s" % ("PID", "COMM", "D", "MAJ", "MIN", "DISK", "I/O", "Kbytes", "AVGms"), tool.lines)
        self.assertTrue(re.match(r"\d\d:\d\d:\d\d loadavg: [\d.]+ ", tool.lines[2]), tool.lines)
        support.need(has_device, "the rest is left out: the tests' directory is on no block device")
        own = [line.split() for line in tool.lines if line.startswith(f"{os.getpid()} ")]
        self.assertEqual(sum(float(row[-2]) for row in own), 1024.0, tool.lines)

    # ---- memory and files

    def test_slabratetop(self):
        with self.running("slabratetop", "-C", "-r", "5", "-p", str(os.getpid()), "0.4") as tool:
            for _ in range(1000):
                os.close(os.open("/proc/self/comm", os.O_RDONLY))
            time.sleep(0.5)
        self.assertIn("%-32s %6s %10s" % ("CACHE", "ALLOCS", "BYTES"), tool.lines)
        rows = [line.split() for line in tool.lines if re.match(r"^\S+ +\d+ +\d+$", line)]
        self.assertTrue(any(int(row[-2]) >= 900 for row in rows), tool.lines)
        self.assertTrue(all(int(row[-1]) >= int(row[-2]) for row in rows))

    def test_cachestat(self):
        path = self.directory / "cached"
        path.write_bytes(b"x" * (4 << 20))
        with self.running("cachestat", "-T", "-p", str(os.getpid()), "0.4") as tool:
            for _ in range(3):
                path.read_bytes()
            time.sleep(0.5)
        titles = ("HITS", "MISSES", "DIRTIES", "HITRATIO", "BUFFERS_MB", "CACHED_MB")
        self.assertEqual(tool.lines[0], "%-8s " % "TIME" + "%8s %8s %8s %8s %12s %10s" % titles)
        rows = [line.split() for line in tool.lines[1:]]
        self.assertGreaterEqual(sum(int(row[1]) for row in rows), 3 * (4 << 20) // 4096 // 16, tool.lines)
        self.assertTrue(all(re.fullmatch(r"\d+\.\d\d%", row[4]) for row in rows))

    def test_drsnoop(self):
        with self.running("drsnoop", "-T", "-U", "-v") as tool:
            pass
        self.assertEqual(tool.lines[0], "%-14s %-6s %-14s %-6s %8s %5s %10s" % ("TIME(s)", "UID", "COMM", "PID", "LAT(ms)", "PAGES", "FREE(KB)"))

    def test_capable(self):
        """A process of an ordinary user asks for what takes a capability, and is refused."""
        tool = self.attached("capable", "-v", "-j")
        asker = subprocess.Popen([shutil.which("chroot", path="/usr/sbin:/sbin"), "/", "true"], stderr=subprocess.DEVNULL, **support.demoted("nobody"))
        self.assertNotEqual(asker.wait(), 0)
        rows = [json.loads(line) for line in self.interrupted(tool).splitlines()]
        own = [row for row in rows if row["pid"] == asker.pid and row["name"] == "CAP_SYS_CHROOT"]
        self.assertEqual(len(own), 1, rows)
        self.assertEqual((own[0]["cap"], own[0]["stack"]), (18, ""))
        tool = self.attached("capable", "-v", "-K", "-U", "-j")
        asker = subprocess.Popen([shutil.which("chroot", path="/usr/sbin:/sbin"), "/", "true"], stderr=subprocess.DEVNULL, **support.demoted("nobody"))
        self.assertNotEqual(asker.wait(), 0)
        rows = [json.loads(line) for line in self.interrupted(tool).splitlines()]
        own, = [row["stack"] for row in rows if row["pid"] == asker.pid and row["name"] == "CAP_SYS_CHROOT"]
        self.assertRegex(own, r";\S*sys_chroot\S*( \[kernel\])?;.*capable", "from the caller inwards")
        with self.running("capable", "-x") as tool:
            pass
        self.assertEqual(tool.lines[0], "%-9s %-6s %-6s %-6s %-16s %-4s %-20s %-6s %s" % ("TIME", "UID", "PID", "TID", "COMM", "CAP", "NAME", "AUDIT", "INSETID"))

    def test_oomkill(self):
        with self.running("oomkill") as tool:
            pass
        self.assertEqual(tool.lines[0], "Tracing OOM kills... Ctrl-C to stop.")

    def test_vfsstat(self):
        with self.running("vfsstat", "-p", str(os.getpid()), "0.5") as tool:
            with open("/dev/zero", "rb", buffering=0) as zero:
                for _ in range(500):
                    zero.read(1)
            time.sleep(0.6)
        self.assertEqual(tool.lines[0], ("%-8s  " % "TIME") + "".join(" %8s" % (name + "/s") for name in ("READ", "WRITE", "FSYNC", "OPEN", "CREATE")))
        rows = [line.split() for line in tool.lines[1:]]
        self.assertTrue(all(row[0].endswith(":") for row in rows))
        reads = sum(int(row[1]) for row in rows) * 0.5
        self.assertTrue(480 <= reads <= 600, tool.lines)

    def test_ext4slower_and_ext4dist(self):
        kind = subprocess.run(["stat", "-f", "-c", "%T", self.directory], text=True, capture_output=True).stdout.strip()
        support.need(kind == "ext2/ext3", f"a folder for temporary files on ext4 (it is on {kind})")

        def work():
            with open(self.directory / "slow.data", "w+b", buffering=0) as file:
                for _ in range(5):
                    file.write(bytes(4096))
                os.fsync(file.fileno())
                os.pread(file.fileno(), 4096, 8192)

        with self.running("ext4slower", "-p", str(os.getpid()), "0") as tool:
            work()
        rows = [line.split() for line in tool.lines if line.endswith("slow.data")]
        self.assertEqual([row[4] for row in rows if row[3] == "W"], ["4096"] * 5, tool.lines)
        self.assertEqual([row[3] for row in rows if row[3] != "W"], ["O", "S", "R"], tool.lines)
        self.assertEqual([row[5] for row in rows if row[3] == "R"], ["8"], "the offset in KiB")
        with self.running("ext4dist", "-p", str(os.getpid())) as tool:
            work()
        text = "\n".join(tool.lines)
        for operation in ("read", "write", "open", "fsync"):
            self.assertIn(f"operation = {operation}", text)

    def test_vfsstat_without_privileges(self):
        result = self.skep("vfsstat", "-j", "60", "--", "dd", "if=/dev/zero", "of=/dev/null", "bs=1", "count=600", check=0, user="nobody", cwd="/")
        row = json.loads(result.stdout.splitlines()[-1])
        self.assertTrue(600 <= row["read"] * 60 + 30 <= 700, result.stdout)
        self.assertTrue(600 <= row["write"] * 60 + 30 <= 700, result.stdout)

    def test_ttysnoop(self):
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, theirs)
        name = os.ttyname(theirs)
        process = self.attached("ttysnoop", name)
        os.write(theirs, b"hello\x1b[1m there\n")
        os.writev(theirs, [b"one ", b"two", b"\n"])
        self.assertEqual(self.interrupted(process), "hello\x1b[1m there\none two\n")
        self.assertIn("no terminal", self.skep("ttysnoop", "/dev", check=2).stderr)
        self.assertIn("No such file", self.skep("ttysnoop", "/dev/pts/99999", check=1).stderr)

    # ---- stacks and locks

    def test_offcputime(self):
        script = self.sleeps(10, 0.02)
        result = self.skep("offcputime", "-j", "--", sys.executable, "-I", "-S", "-c", script, check=0)
        rows = [json.loads(line) for line in result.stdout.splitlines()]
        slept = [row for row in rows if any("nanosleep" in name for name in row["kernel"])]
        left = int(self.left.read_text())
        self.assertGreaterEqual(left, 8)
        # Of a sleep during which the machine stood still before the task was off, the rest is short.
        self.assertGreaterEqual(sum(row["us"] for row in slept), (left - 2) * 20000 * 0.95, rows)
        self.assertTrue(any("schedule" in name for name in slept[-1]["kernel"]), slept)
        with self.running("offcputime", "-K", "-p", str(os.getpid())) as tool:
            time.sleep(0.05)
        self.assertEqual(tool.lines[0], "Tracing off-CPU time (us) of one process by kernel stack... Hit Ctrl-C to end.")
        comm = own_name()
        self.assertIn("    %-16s %s (%d)" % ("-", comm, os.getpid()), tool.lines)
        folded = self.skep("offcputime", "-f", "-m", "15000", "--", sys.executable, "-I", "-S", "-c", script, check=0).stdout
        self.assertRegex(folded, r"(?m)^\S+;.*nanosleep.*;\S*schedule\S* \d+$")
        self.assertEqual(self.skep("offcputime", "-k", "-U").returncode, 2)

    def test_flame_graphs(self):
        path = self.directory / "graph<1>.svg"
        code = "import time\nwhile time.process_time() < 0.6: pass"
        self.skep("profile", "--flame", path, "-F", "99", "--", sys.executable, "-I", "-S", "-c", code, check=0)
        space = "{http://www.w3.org/2000/svg}"
        boxes = [(group.find(space + "title").text, group.find(space + "rect")) for group in xml.etree.ElementTree.parse(path).iter(space + "g")]
        total = int(re.fullmatch(r"all: (\d+) samples \(100.00%\)", boxes[0][0])[1])
        self.assertGreater(total, 20)
        # Above the whole stand the programs, each as wide as its share.
        programs = [(title, box) for title, box in boxes if float(box.get("y")) == float(boxes[0][1].get("y")) - 17]
        self.assertEqual(sum(int(title.split()[-3]) for title, _ in programs), total)
        self.assertAlmostEqual(sum(float(box.get("width")) for _, box in programs), float(boxes[0][1].get("width")), delta=1)
        self.assertTrue(any(title.startswith(pathlib.Path(sys.executable).name[:15]) for title, _ in programs), programs)
        self.assertIn("No such file", self.skep("profile", "--flame", "/nowhere/graph.svg", "0.1").stderr)

    def test_wakeuptime(self):
        code = "import os, time\na, b = os.pipe()\nif os.fork() == 0:\n  os.read(a, 1)\n  os._exit(0)\ntime.sleep(0.1)\nos.write(b, b'x')\nos.wait()\ntime.sleep(0.05)"
        result = self.skep("wakeuptime", "-j", "--", sys.executable, "-I", "-S", "-c", code, check=0)
        rows = [json.loads(line) for line in result.stdout.splitlines()]
        comm = os.path.basename(os.path.realpath(sys.executable))[:15]
        written = [row for row in rows if row["waker"] == row["target"] and any("pipe" in name for name in row["kernel"])]
        self.assertGreaterEqual(sum(row["us"] for row in written), 90000, (comm, rows))
        with self.running("wakeuptime", "-v", "-p", str(os.getpid())) as tool:
            time.sleep(0.05)
        self.assertEqual(tool.lines[0], "Tracing blocked time (us) by kernel stack... Hit Ctrl-C to end.")
        self.assertTrue(any(re.match(r"    [0-9a-f]{16} \S+", line) for line in tool.lines), tool.lines)

    def test_profile(self):
        with self.running("profile", "-F", "499", "-p", str(os.getpid())) as tool:
            until = time.process_time() + 0.2  # on a CPU, however long that takes
            while time.process_time() < until:
                pass
        self.assertEqual(tool.lines[0], f"Sampling at 499 Hertz of PID [{os.getpid()}] by user + kernel stack... Hit Ctrl-C to end.")
        counts = [int(line) for line in tool.lines if re.fullmatch(r" {8}\d+", line)]
        self.assertGreaterEqual(sum(counts), 10, tool.lines)
        self.assertTrue(any("Py" in line for line in tool.lines), tool.lines)
        tool = self.attached("profile", "-f", "-K", "-a", "-F", "499", "-p", str(os.getpid()))
        for _ in range(20000):
            os.stat("/proc/self/status")
        self.assertRegex(self.interrupted(tool), r"(?m)^[^;]+;.*_\[k\] \d+$")
        self.assertEqual(self.skep("profile", "-F", "1", "-c", "1").returncode, 2)

    def test_klockstat(self):
        with self.running("klockstat") as tool:
            threads = [threading.Thread(target=lambda: [os.stat("/proc/self/status") for _ in range(500)]) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(tool.lines[0], "Tracing lock events... Hit Ctrl-C to end.")
        self.assertIn("%40s %10s %6s %10s %10s" % ("Caller", "Avg Spin", "Count", "Max spin", "Total spin"), tool.lines)
        for line in tool.lines[3:]:
            if found := re.match(r"^ *\S+\+0x[0-9a-f]+\S* +(\d+) +(\d+) +(\d+) +(\d+)$", line):
                average, count, most, total = map(int, found.groups())
                self.assertEqual(average, total // count)
                self.assertLessEqual(most, total)

    # ---- hooks that are not everywhere

    def test_tcpsynbl_takes_a_stand_in(self):
        """Where neither fentry nor kprobes are, a tracepoint stands in for the function, and the tool says so."""
        script = (
            "import socket\nlistener = socket.socket()\nlistener.bind(('127.0.0.1', 0))\nlistener.listen(5)\n"
            "for _ in range(10):\n  one = socket.create_connection(listener.getsockname())\n"
            "  other, _ = listener.accept()\n  one.close(), other.close()\n"
        )
        result = self.skep("tcpsynbl", "--", sys.executable, "-I", "-S", "-c", script, check=0)
        lines = result.stdout.splitlines()
        self.assertIn("backlog_max = 5", lines, result.stderr)
        self.assertGreaterEqual(sum(counted(lines[lines.index("backlog_max = 5") :])), 10, result.stdout)
        told = [line for line in result.stderr.splitlines() if "is carried by" in line]
        self.assertEqual(len(told), len({line.removeprefix("skep: ") for line in told}), result.stderr)

    def test_missing_hooks_are_named(self):
        tools = {
            "readahead": ("Tracing... Hit Ctrl-C to end.", "page_cache_ra_unbounded"),
            "swapin": ("Counting swap ins. Ctrl-C to end.", "swap_read_folio"),
            "numamove": ("%-10s %18s %18s" % ("TIME", "NUMA_migrations", "NUMA_migrations_ms"), "migrate_misplaced_folio"),
            "mdflush": ("Tracing md flush requests... Hit Ctrl-C to end.", "md_flush_request"),
            "vfscount": ("Tracing... Ctrl-C to end.", "kprobe"),
            "llcstat": ("Running for 10 seconds or hit Ctrl-C to end.", "cache-references"),
        }
        for tool, (heading, hook) in tools.items():
            with self.subTest(tool=tool):
                process = self.start(tool)
                first = process.stdout.readline().rstrip("\n")
                if first:
                    self.assertEqual(first, heading)
                    process.send_signal(signal.SIGINT)
                    process.communicate(timeout=30)
                    self.assertEqual(process.returncode, 0)
                    continue
                errors = process.communicate(timeout=30)[1]
                self.assertEqual(process.returncode, 1, errors)
                self.assertIn(hook, errors)
                if tool != "llcstat":  # whose hook is the CPU's
                    self.assertIn(NO_HOOK, errors)

    # ---- all of them

    def test_bad_options(self):
        for arguments in (["runqlat", "-P", "-L"], ["runqlat", "0"], ["runqlat", "x"], ["cpudist", "-p", "0"], ["biotop", "-r", "0"],
                          ["ttysnoop"], ["hardirqs", "-c", "-1"], ["capable", "--backend", "user"], ["ext4slower", "x"], ["llcstat", "-c", "0"]):
            with self.subTest(arguments=arguments):
                result = self.skep(*arguments, timeout=20)
                self.assertIn(result.returncode, (1, 2), result.stderr)
                self.assertTrue(result.stderr.startswith("skep: ") or "Run with --help" in result.stderr, result.stderr)
                self.assertEqual(result.stdout, "")

    def test_help_has_examples(self):
        for line in self.skep("tools", check=0).stdout.splitlines():
            name = line.split()[0]
            with self.subTest(tool=name):
                text = self.skep(name, "--help", check=0).stdout
                self.assertIn(f"  skep {name}", text[text.index("examples:"):])

    def test_a_killed_tool_leaves_nothing(self):
        def programs(pid):
            """Numbers of the programs that a process holds."""
            text = "".join(pathlib.Path(entry.path).read_text() for entry in os.scandir(f"/proc/{pid}/fdinfo"))
            return {int(number) for number in re.findall(r"^prog_id:\t(\d+)$", text, re.M)}

        def loaded():
            return {entry["id"] for entry in json.loads(self.skep("prog", "list", "-j", check=0).stdout)}

        tools = [self.start("runqlat"), self.start("biosnoop"), self.start("runqlen")]
        held = set()
        for tool in tools:
            tool.stdout.readline()
            held |= programs(tool.pid)
        self.assertGreaterEqual(len(held), 6)
        self.assertLessEqual(held, loaded())
        for tool in tools:
            tool.kill()
            tool.wait()
        deadline = time.monotonic() + 10
        while held & loaded() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(held & loaded(), set())


if __name__ == "__main__":
    support.main()
