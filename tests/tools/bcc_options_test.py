"""Options of BCC's tools that take more than a filter: names of addresses, the journal, buffers, sums, comparisons."""
import ctypes
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import textwrap
import time
import unittest

import support

NEW_NETWORK = 0x40000000


def engines():
    yield "user"
    if support.can_use_kernel_bpf():
        yield "kernel"


def rows(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


class BccOptions(support.Case):
    def on_python(self, tool, script, *options, check=0):
        """The tool's rows about a Python workload of ours."""
        path = self.write("workload.py", textwrap.dedent(script))
        return self.skep(tool, "-j", *options, "--", sys.executable, "-I", "-S", path, check=check)

    # A network of the workload's own, in which it is the name server as well.
    NAMES = """
        import ctypes, fcntl, os, socket, struct, threading, time
        if ctypes.CDLL(None).unshare(0x40000000) != 0: raise SystemExit("no network namespace")
        control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS: IFF_UP
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); server.bind(("127.0.0.1", 53))
        def name(text): return b"".join(bytes([len(part)]) + part.encode() for part in text.split(".")) + b"\\0"
        def answer(text, *records): return struct.pack(">6H", 1, 0x8180, 1, len(records), 0, 0) + name(text) + struct.pack(">2H", 1, 1) + b"".join(records)
        def record(kind, data): return b"\\xc0\\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data
        def ask(ask, take, message):
            ask.sendto(b"query", ("127.0.0.1", 53))
            server.sendto(message, server.recvfrom(512)[1])
            take(ask)
        listener = socket.socket(); listener.bind(("0.0.0.0", 0)); listener.listen(16)
        def connect(address): socket.create_connection((address, listener.getsockname()[1])).close()
        connected = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); connected.connect(("127.0.0.1", 53))
        loose = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        alias = record(5, name("real.example.test"))
        ask(connected, lambda s: s.recv(512), answer("www.example.test", alias, record(1, socket.inet_aton("127.1.2.3"))))
        connect("127.1.2.3")
        ask(loose, lambda s: s.recvfrom(512), answer("loose.example.test", record(1, socket.inet_aton("127.1.2.4"))))
        connect("127.1.2.4")
        ask(loose, lambda s: s.recvmsg(512), answer("message.example.test", record(1, socket.inet_aton("127.1.2.5"))))
        connect("127.1.2.5")
        # Two answers, taken at once: the second lies behind the first.
        messages = [answer(text + ".example.test", record(1, socket.inet_aton(address))) for text, address in (("first", "127.1.2.8"), ("second", "127.1.2.9"))]
        loose.sendto(b"query", ("127.0.0.1", 53)); asked = server.recvfrom(512)[1]
        for message in messages: server.sendto(message, asked)
        buffers = [ctypes.create_string_buffer(512) for _ in messages]
        senders = [ctypes.create_string_buffer(16) for _ in messages]
        pieces = [ctypes.create_string_buffer(struct.pack("QQ", ctypes.addressof(buffer), 512)) for buffer in buffers]
        headers = ctypes.create_string_buffer(b"".join(struct.pack("QIxxxxQQQQixxxxIxxxx", ctypes.addressof(sender), 16, ctypes.addressof(piece), 1, 0, 0, 0, 0)
                                                       for sender, piece in zip(senders, pieces)), 128)
        assert ctypes.CDLL(None).recvmmsg(loose.fileno(), headers, 2, 0, None) == 2
        connect("127.1.2.8"); connect("127.1.2.9")
        # What is no answer, or a wrong one: cut short, a name that points at itself, too long a label.
        good = answer("bad.example.test", record(1, socket.inet_aton("127.1.2.6")))
        for bad in [good[:n] for n in range(1, len(good))] + [good[:12] + b"\\xc0\\x0c" + good[14:], good[:12] + b"\\x7f" + good[13:], b"\\xff" * 512]:
            ask(connected, lambda s: s.recv(512), bad)
        connect("127.1.2.6"); connect("127.0.0.1")
        ask(connected, lambda s: s.recv(512), answer("old.example.test", record(1, socket.inet_aton("127.1.2.7"))))
        time.sleep(0.2); connect("127.1.2.7")
        """

    def test_tcpconnect_names(self):
        support.need(os.geteuid() == 0, "left out: a network namespace and port 53 take root")
        for engine in engines():
            with self.subTest(engine=engine):
                result = self.on_python("tcpconnect", self.NAMES, "-d", "--backend", engine)
                queries = {row["daddr"]: row["query"] for row in rows(result.stdout)}
                age = queries.pop("127.1.2.7", "")
                queries = {address: re.sub(r" \([0-9.]+ms\)$", "", query) for address, query in queries.items()}  # on a busy machine
                self.assertEqual(queries, {"127.1.2.3": "www.example.test", "127.1.2.4": "loose.example.test", "127.1.2.5": "message.example.test",
                                           "127.1.2.8": "first.example.test", "127.1.2.9": "second.example.test",
                                           "127.1.2.6": "No DNS Query", "127.0.0.1": "localhost"}, result.stderr)
                self.assertRegex(age, r"^old\.example\.test \(\d{3,}\.\d{3}ms\)$")
                self.assertNotIn("damaged", result.stderr)
        self.assertNotEqual(self.skep("tcpconnect", "-c", "-d", "--", "true").returncode, 0)

    REFUSED = """
            import socket
            def refused(family, address, port=0):
                s = socket.socket(family)
                if port: s.bind((address, port))
                try: s.connect((address, 1))
                except OSError: pass
                s.close()
            for _ in range(3): refused(socket.AF_INET, "127.0.0.1")
            refused(socket.AF_INET6, "::1")
            free = socket.socket(); free.bind(("127.0.0.1", 0)); port = free.getsockname()[1]; free.close()
            refused(socket.AF_INET, "127.0.0.1", port)
            later = socket.socket(); later.setblocking(False)  # told while the answer is on its way
            later.connect_ex(("127.0.0.1", 1))
            print(port)
            """

    @unittest.skipUnless(support.can_use_kernel_bpf(), "takes root and a kernel with BTF")
    def test_a_refused_connections_own_end(self):
        """The socket has forgotten it when connect() returns."""
        result = self.on_python("tcpconnect", self.REFUSED, "-L", "-P", 1, "--backend", "kernel")
        bound = int(next(line for line in result.stdout.splitlines() if line.isdigit()))
        seen = rows(result.stdout)
        self.assertEqual([(row["saddr"], row["daddr"]) for row in seen[:5]], [("127.0.0.1",) * 2] * 3 + [("::1",) * 2, ("127.0.0.1",) * 2], result.stdout)
        low, high = map(int, pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
        self.assertTrue(all(low <= row["lport"] <= high for row in seen[:4]), seen)
        self.assertEqual(seen[4]["lport"], bound)
        self.assertEqual(len(seen), 6)

    def test_a_refused_connections_own_address_without_root(self):
        """By the route, where that is what the socket went by, and is ours."""
        elsewhere = """
            import ctypes, fcntl, os, struct
            held = socket.socket(); held.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo"); held.connect_ex(("127.0.0.1", 1))
            if ctypes.CDLL(None).unshare(0x40000000) == 0:
                fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS: IFF_UP
                refused(socket.AF_INET, "127.0.0.1")
            """
        result = self.on_python("tcpconnect", textwrap.dedent(self.REFUSED) + textwrap.dedent(elsewhere), "-L", "-P", 1, "--backend", "user")
        bound = int(next(line for line in result.stdout.splitlines() if line.isdigit()))
        seen = rows(result.stdout)
        self.assertEqual([row["saddr"] for row in seen[:5]], ["127.0.0.1"] * 3 + ["::1", "127.0.0.1"], result.stdout)
        self.assertEqual([row["saddr"] for row in seen[6:]], ["0.0.0.0"] * (2 if os.geteuid() == 0 else 1), result.stdout)
        low, high = map(int, pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
        self.assertTrue(all(low <= row["lport"] <= high for row in seen[:4]), seen)
        self.assertEqual(seen[4]["lport"], bound)

    @unittest.skipUnless(support.can_use_kernel_bpf(), "takes root and a kernel with BTF")
    def test_tcpstates_into_the_journal(self):
        """A journal of this test's own: its socket in a /run that nobody else sees."""
        libc = ctypes.CDLL(None, use_errno=True)
        support.need(libc.mount(b"none", b"/run", b"tmpfs", 0, None) == 0, "left out: /run cannot be mounted over here")
        self.addCleanup(libc.umount2, b"/run", 2)
        self.assertIn("it takes a running systemd-journald", self.skep("tcpstates", "-Y", check=2).stderr)
        os.makedirs("/run/systemd/journal")
        journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(journal.close)
        journal.bind("/run/systemd/journal/socket")
        journal.settimeout(10)
        server = socket.socket()
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        port = server.getsockname()[1]
        tool = self.attached("tcpstates", "-Y", "-D", port)
        client = socket.create_connection(("127.0.0.1", port))
        own = client.getsockname()[1]
        client.close()
        server.close()
        lines = [line for line in self.interrupted(tool).splitlines() if str(port) in line.split()]
        entries = [dict(field.split("=", 1) for field in journal.recv(8192).decode().splitlines()) for _ in lines]
        self.assertIn("ESTABLISHED", [one["OBJECT_TCP_NEW_STATE"] for one in entries], lines)
        entry = next(one for one in entries if one["OBJECT_TCP_NEW_STATE"] == "ESTABLISHED")
        self.assertEqual((entry["SYSLOG_IDENTIFIER"], entry["PRIORITY"], entry["OBJECT_TCP_OLD_STATE"]), ("tcpstates", "5", "SYN_SENT"))
        self.assertEqual((entry["OBJECT_IPV4_SOURCE_ADDRESS"], entry["OBJECT_TCP_SOURCE_PORT"]), ("127.0.0.1", str(own)))
        self.assertEqual((entry["OBJECT_IPV4_DESTINATION_ADDRESS"], entry["OBJECT_TCP_DESTINATION_PORT"]), ("127.0.0.1", str(port)))
        self.assertTrue(entry["MESSAGE"].endswith(f"127.0.0.1 {own} → 127.0.0.1 {port} SYN_SENT → ESTABLISHED"), entry)
        self.assertGreaterEqual(int(entry["OBJECT_TCP_SPAN_TIME"]), 0)

    @unittest.skipUnless(support.can_use_kernel_bpf(), "takes root and a kernel with BTF")
    def test_opensnoop_buffer(self):
        tool = self.attached("opensnoop", "-b", 8)
        rings = set()
        for entry in os.scandir(f"/proc/{tool.pid}/fdinfo"):
            facts = dict(line.split(":\t") for line in pathlib.Path(entry.path).read_text().splitlines() if ":\t" in line)
            if facts.get("map_type") == "27":  # BPF_MAP_TYPE_RINGBUF
                rings.add(int(facts["max_entries"]))
        self.interrupted(tool)
        self.assertEqual(rings, {8 * os.sysconf("SC_PAGE_SIZE")})
        for tool in "opensnoop", "trace":
            self.assertIn("expected a power of two, such as 8", self.skep(tool, "-b", 6, *(["c:getppid"] if tool == "trace" else []), "--", "true").stderr)

    ALLOCATIONS = """
        import ctypes
        libc = ctypes.CDLL(None)
        libc.malloc.restype = ctypes.c_void_p; libc.free.argtypes = [ctypes.c_void_p]
        for i in range(50):
            libc.malloc(12345)
            libc.free(libc.malloc(23456))
        """

    def test_memleak_trace(self):
        for engine in engines():
            with self.subTest(engine=engine):
                result = self.on_python("memleak", self.ALLOCATIONS, "-t", "-z", 12345, "-Z", 23456, "--backend", engine)
                calls = [row["call"] for row in rows(result.stdout)]
                self.assertGreaterEqual(calls.count("alloc entered, size = 12345"), 50, result.stderr)
                given = [match[1] for match in map(re.compile(r"alloc exited, size = 23456, result = ([0-9a-f]+)").fullmatch, calls) if match]
                freed = [match[1] for match in map(re.compile(r"free entered, address = ([0-9a-f]+), size = 23456").fullmatch, calls) if match]
                self.assertEqual(given[:50], freed[:50])
                self.assertGreaterEqual(len(freed), 50)

    def test_memleak_combined(self):
        for engine in engines():
            with self.subTest(engine=engine):
                result = self.on_python("memleak", self.ALLOCATIONS, "--combined-only", "-z", 12345, "-Z", 23456, "--backend", engine, "1000")
                leaks = rows(result.stdout)
                self.assertEqual(sum(row["allocations"] for row in leaks if row["bytes"] == row["allocations"] * 12345), 50, result.stdout)
                self.assertFalse([row for row in leaks if row["bytes"] % 23456 == 0], leaks)
        self.assertIn("excludes", self.skep("memleak", "--combined-only", "-o", 5, "--", "true").stderr)

    @unittest.skipUnless(support.can_use_kernel_bpf(), "takes root and a kernel with BTF")
    def test_memleak_of_memory_for_each_cpu(self):
        """The kernel allocates the values of a per-CPU array so; this size, nobody else does."""
        path = f"/sys/fs/bpf/skep_test_percpu_{os.getpid()}"
        self.addCleanup(lambda: os.path.exists(path) and os.unlink(path))
        tool = self.attached("memleak", "-j", "-t", "--percpu", "-z", 3016, "-Z", 3016)
        self.skep("map", "create", path, "type", "percpu_array", "key", 4, "value", 3016, "entries", 3, "name", "large", check=0)
        time.sleep(0.2)
        calls = [row["call"] for row in rows(self.interrupted(tool))]
        self.assertEqual(len([call for call in calls if call.startswith("alloc exited, size = 3016, result = ")]), 3, calls)
        self.assertIn("only the kernel", self.skep("memleak", "--percpu", "--", "true", check=2).stderr)

    def test_funclatency_levels(self):
        """qsort(), whose comparison calls qsort() four times more, each inside of the other."""
        script = """
            import ctypes
            libc = ctypes.CDLL(None)
            depth = 0
            @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
            def compare(a, b):
                global depth
                depth += 1
                if depth < 5: libc.qsort((ctypes.c_int * 2)(1, 2), 2, 4, compare)
                return 0
            libc.qsort((ctypes.c_int * 2)(1, 2), 2, 4, compare)
            """
        for engine in engines():
            with self.subTest(engine=engine):
                counts = []
                for level in 1, 2, 16:
                    (row,) = rows(self.on_python("funclatency", script, "--backend", engine, "-l", level, "c:qsort").stdout)
                    counts.append(sum(slot["count"] for slot in row["histogram"]))
                self.assertEqual((counts[1] - counts[0], counts[2] - counts[0]), (1, 4), counts)  # Python sorts, too

    def test_exitsnoop_in_universal_time(self):
        lines = self.skep("exitsnoop", "--utc", "--", "true", check=0, env=dict(self.environment, TZ="EAST-7")).stdout.splitlines()
        self.assertEqual(lines[0].split()[0], "TIME-UTC")
        hours, minutes = map(int, lines[1].split()[0].split(":")[:2])
        now = time.gmtime()
        self.assertLess((now.tm_hour * 60 + now.tm_min - hours * 60 - minutes) % (24 * 60), 3)


class TraceOptions(support.Case):
    @classmethod
    def setUpClass(cls):
        support.need_clang()
        super().setUpClass()

    def trace(self, script, *arguments):
        path = self.write("workload.py", textwrap.dedent(script))
        return self.skep("trace", "-j", *arguments, "--", sys.executable, "-I", "-S", path, check=0)

    OPENS = """
        import os
        for path in ["/dev/null"] * 3 + ["/dev/zero"]:
            try: os.close(os.open(path, os.O_RDONLY))
            except OSError: pass
        """
    OPENED = '"%s", args->filename'

    def test_strings_are_compared(self):
        for engine in engines():
            result = self.trace(self.OPENS, "--backend", engine, f't:syscalls:sys_enter_openat (STRCMP("/dev/zero", args->filename)) {self.OPENED}')
            self.assertEqual([row["message"] for row in rows(result.stdout)], ["/dev/zero"], result.stderr)
        bad = self.skep("trace", 't:syscalls:sys_enter_openat (STRCMP("x"))', "--", "true")
        self.assertIn('expected STRCMP("TEXT", STRING)', bad.stderr)

    def test_bytes_are_compared(self):
        script = """
            import os
            reader, writer = os.pipe()
            for data in b"\\x01\\x00\\x02yes", b"\\x01\\x00\\x03no", b"\\x01": os.write(writer, data)
            """
        probe = 't:syscalls:sys_enter_write (STRCMP("\\x01\\x00\\x02", args->buf)) "%d", args->count'
        for engine in engines():
            result = self.trace(script, "--backend", engine, "-B", probe)
            self.assertEqual([row["message"] for row in rows(result.stdout)], ["6"], result.stderr)

    def test_lines_are_counted(self):
        probe = f't:syscalls:sys_enter_openat (STRCMP("/dev/", args->filename)) {self.OPENED}'
        for engine in engines():
            result = self.trace(self.OPENS, "--backend", engine, "-A", probe)
            self.assertEqual([(row["message"], row["count"]) for row in rows(result.stdout)], [("/dev/null", 3), ("/dev/zero", 1)], result.stderr)
        path = self.write("workload.py", textwrap.dedent(self.OPENS))
        text = self.skep("trace", "-A", "-M", 3, probe, "--", sys.executable, "-I", "-S", path, check=0).stdout
        self.assertRegex(text, r"sys_enter_openat +/dev/null\n-->COUNT 3\n")
        self.assertNotIn("/dev/zero", text)

    def test_a_control_group(self):
        mounts = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
        roots = [line.split()[4] for line in mounts if " - cgroup2 " in line]
        support.need(roots and os.access(roots[0], os.W_OK), "left out: a cgroup2 hierarchy that may be written is not mounted here")
        group = pathlib.Path(roots[0], f"skep-test-trace-{os.getpid()}")
        for path in group, group / "below":
            path.mkdir()
            self.addCleanup(path.rmdir)
        script = f"""
            import os, pathlib
            def look(where):
                if os.fork() == 0:
                    if where: pathlib.Path(where, "cgroup.procs").write_text(str(os.getpid()))
                    try: os.open("/nowhere/" + os.path.basename(where), os.O_RDONLY)
                    except OSError: os._exit(0)
                os.wait()
            for where in "", {str(group)!r}, {str(group / "below")!r}: look(where)
            """
        probe = f't:syscalls:sys_enter_openat (STRCMP("/nowhere/", args->filename)) {self.OPENED}'
        for engine in engines():
            result = self.trace(script, "--backend", engine, "-c", group, probe)
            self.assertEqual([row["message"] for row in rows(result.stdout)], [f"/nowhere/{group.name}", "/nowhere/below"], result.stderr)
        self.assertIn("is no control group", self.skep("trace", "-c", self.directory, "c:getppid", "--", "true").stderr)
        self.assertIn("No such file", self.skep("trace", "-c", "/nowhere", "c:getppid", "--", "true").stderr)

    @unittest.skipUnless(support.can_use_kernel_bpf(), "takes root and a kernel with BTF")
    def test_names_from_listed_files(self):
        """A stripped program; its names are in a file that the command line lists."""
        methods = pathlib.Path(os.environ["SKEP_BUILD"], "tests/tools/tools_methods")
        support.need(methods.exists() and shutil.which("objcopy"), "left out: it takes objcopy")
        stripped = self.directory / "stripped"
        subprocess.run(["objcopy", "--strip-all", methods, stripped], check=True)

        def stack(*options):
            out = self.skep("trace", "--backend", "kernel", "-U", *options, f"u:{stripped}:method__entry", "--", stripped, check=0).stdout
            return [line.strip() for line in out.splitlines() if line.startswith("        ")]
        self.assertFalse([line for line in stack() if "method__entry" in line])
        named = stack("-s", methods)
        self.assertRegex(named[0], r"^method__entry\+0x[0-9a-f]+ \[tools_methods\]$", named)
        self.assertIn("-s: ", self.skep("trace", "-U", "-s", self.write("empty.o", ""), "c:getppid", "--", "true", check=2).stderr)
        self.assertIn("No such file", self.skep("trace", "-U", "-s", "/nowhere/file", "c:getppid", "--", "true").stderr)


if __name__ == "__main__":
    support.main()
