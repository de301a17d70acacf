"""Tools whose events are system calls: the same lines from both engines, for what the test itself did.

Each workload is a Python program of ours that does known things; a tool is run on it with `-- CMD`, in the user engine
and, where that may be done here, in the kernel, where it must pick out the command's processes by itself.
"""
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import unittest

import support


def engines():
    yield "user"
    if support.can_use_kernel_bpf():
        yield "kernel"


class Tools(support.Case):
    def rows(self, tool, workload, *options, engine="user"):
        """JSON rows of a tool about a Python workload, and the workload's own output."""
        script = self.write(f"{tool}.py", textwrap.dedent(workload))
        result = self.skep(tool, "-j", "--backend", engine, *options, "--", sys.executable, "-I", "-S", script, check=0)
        rows, own = [], []
        for line in result.stdout.splitlines():
            (rows if line.startswith("{") else own).append(line)
        return [json.loads(row) for row in rows], own

    def both(self, check):
        for engine in engines():
            with self.subTest(engine=engine):
                check(engine)
        if not support.can_use_kernel_bpf():
            print("the kernel's half is left out: it takes root and a kernel with BTF", file=sys.stderr)

    def test_opensnoop(self):
        odd = "line\nbreak\x1b[31m"
        path = self.directory / odd
        path.write_text("x")

        def check(engine):
            rows, own = self.rows("opensnoop", f"""
                import os
                fd = os.open({str(path)!r}, os.O_RDWR | os.O_APPEND)
                print(os.getpid(), fd, flush=True)
                try: os.open({str(self.directory / "missing")!r}, os.O_RDONLY)
                except OSError: pass
                """, engine=engine)
            pid, fd = map(int, own[0].split())
            found = [row for row in rows if row["path"] == str(path)]
            self.assertEqual(len(found), 1, rows)
            self.assertEqual((found[0]["pid"], found[0]["fd"], found[0]["err"]), (pid, fd, 0))
            self.assertEqual(int(found[0]["flags"], 8) & 0o3, os.O_RDWR)
            missing = [row for row in rows if row["path"].endswith("/missing")]
            self.assertEqual([(row["fd"], row["err"]) for row in missing], [(-1, 2)])
        self.both(check)

    def test_names_cannot_write_to_the_terminal(self):
        path = self.directory / "a\nb\x1b[31m\xff"
        path.write_text("x")
        result = self.skep("opensnoop", "--", "cat", str(path), check=0)
        self.assertIn("/a\\nb\\x1b[31m", result.stdout)
        self.assertNotIn("\x1b", result.stdout)

    def test_opensnoop_options(self):
        rows, _ = self.rows("opensnoop", """
            import os
            os.close(os.open("/dev/null", os.O_WRONLY))
            os.close(os.open("/dev/zero", os.O_RDONLY))
            """, "-f", "O_WRONLY")
        self.assertEqual([row["path"] for row in rows], ["/dev/null"])
        rows, _ = self.rows("opensnoop", "open('/dev/null')\ntry: open('/nowhere')\nexcept OSError: pass\n", "-x")
        self.assertIn("/nowhere", [row["path"] for row in rows])
        self.assertNotIn("/dev/null", [row["path"] for row in rows])
        self.assertIn("O_WRONLY", self.skep("opensnoop", "-f", "O_NOSUCH", "--", "true", check=2).stderr)
        self.assertIn("no user", self.skep("opensnoop", "-u", "nobody-of-this-name", "--", "true", check=2).stderr)

    def test_a_page_that_is_not_in_memory(self):
        """The names that kernel programs cannot read at the entry: five of five."""
        def check(engine):
            rows, own = self.rows("opensnoop", f"""
                import ctypes, mmap, os
                libc = ctypes.CDLL(None, use_errno=True)
                libc.open.argtypes = [ctypes.c_void_p, ctypes.c_int]
                path = {str(self.directory / "names")!r}
                for i in range(5):
                    with open(path, "wb") as f: f.write(b"/nowhere/%d\\0" % i + bytes(8192))
                    with open(path, "rb") as f:
                        area = mmap.mmap(f.fileno(), 8192, prot=mmap.PROT_READ | mmap.PROT_WRITE, flags=mmap.MAP_PRIVATE)
                    address = ctypes.addressof(ctypes.c_char.from_buffer(area))
                    libc.open(address, 0)
                """, engine=engine)
            names = [row["path"] for row in rows if row["path"].startswith("/nowhere/")]
            self.assertEqual(names, [f"/nowhere/{i}" for i in range(5)])
        self.both(check)

    def test_execsnoop(self):
        def check(engine):
            rows, own = self.rows("execsnoop", """
                import os, subprocess
                print(os.getpid(), flush=True)
                subprocess.run(["/bin/echo", "a b", "", "c"], stdout=subprocess.DEVNULL)
                if os.fork() == 0:
                    try: os.execv("/nowhere/program", ["x"])
                    except OSError: os._exit(0)
                os.wait()
                """, "-x", engine=engine)
            echo = [row for row in rows if row["comm"] == "echo"]
            self.assertEqual([(row["args"], row["ret"]) for row in echo], [("/bin/echo a b  c", 0)])
            self.assertEqual(echo[0]["ppid"], int(own[0]))
            failed = [row for row in rows if row["ret"] < 0]
            self.assertEqual([(row["ret"], row["args"]) for row in failed], [(-2, "x")])
        self.both(check)

    def test_statsnoop(self):
        def check(engine):
            rows, _ = self.rows("statsnoop", f"""
                import os
                os.stat({str(self.directory)!r})
                try: os.lstat("/nowhere/at/all")
                except OSError: pass
                """, engine=engine)
            self.assertIn((str(self.directory), 0), [(row["path"], row["err"]) for row in rows])
            self.assertIn(("/nowhere/at/all", 2), [(row["path"], row["err"]) for row in rows])
        self.both(check)

    def test_killsnoop_and_sigsnoop(self):
        workload = """
            import os, signal
            signal.signal(signal.SIGUSR1, lambda *_: None)
            os.kill(os.getpid(), signal.SIGUSR1)
            try: os.kill(2 ** 22 - 1, signal.SIGUSR2)
            except OSError: pass
            print(os.getpid(), flush=True)
            """

        def check(engine):
            rows, own = self.rows("killsnoop", workload, engine=engine)
            pid = int(own[0])
            sent = [(row["pid"], row["signal"], row["tpid"], row["result"]) for row in rows]
            self.assertEqual(sent, [(pid, signal.SIGUSR1, pid, 0), (pid, signal.SIGUSR2, 2 ** 22 - 1, -3)])
            rows, own = self.rows("sigsnoop", workload, "-s", "USR1", "-n", engine=engine)
            self.assertEqual([(row["signal"], row["tpid"]) for row in rows], [("SIGUSR1", int(own[0]))])
            rows, own = self.rows("sigsnoop", """
                import os
                child = os.fork()
                if child == 0: os._exit(0)
                os.waitpid(child, 0)
                print(child, os.getpid(), flush=True)
                """, "-s", "CHLD", engine=engine)
            child, parent = map(int, own[0].split())
            self.assertIn((child, signal.SIGCHLD, parent), [(row["pid"], row["signal"], row["tpid"]) for row in rows])
        self.both(check)
        self.assertIn("no signal", self.skep("killsnoop", "-s", "NOSUCH", "--", "true", check=2).stderr)

    def test_syscount(self):
        def check(engine):
            rows, _ = self.rows("syscount", "import os\nfor _ in range(1000): os.getppid()\n", "-L", "-T", "3", engine=engine)
            by_name = {row["syscall"]: row for row in rows}
            self.assertEqual(by_name["getppid"]["count"], 1000)
            self.assertEqual(max(rows, key=lambda row: row["time"]), rows[0])
            rows, _ = self.rows("syscount", "import os\nfor _ in range(10):\n  try: os.stat('/nowhere')\n  except OSError: pass\n",
                                "-e", "ENOENT", "--syscall", "newfstatat", engine=engine)
            self.assertTrue(rows == [] or rows[0]["count"] >= 10, rows)
        self.both(check)

    def test_syscount_begins_with_the_command(self):
        """The C library resets signals one by one before it executes a command: those calls are nobody's."""
        def check(engine):
            def rows(*options):
                result = self.skep("syscount", "-j", "--backend", engine, *options, "--", "/bin/true")
                return [json.loads(line) for line in result.stdout.splitlines()]
            counts = {row["syscall"]: row["count"] for row in rows("-T", "100")}
            self.assertEqual(counts["execve"], 1)
            self.assertNotIn("rt_sigaction", counts)
            self.assertNotIn("rt_sigprocmask", counts)
            self.assertEqual([row["comm"] for row in rows("-P")], ["true"])
        self.both(check)

    def test_filetop_and_fileslower(self):
        data = self.directory / "data"

        def check(engine):
            data.write_bytes(bytes(100_000))
            workload = f"""
                import os
                fd = os.open({str(data)!r}, os.O_RDWR)
                for _ in range(10): os.pread(fd, 8192, 0)
                os.pwrite(fd, bytes(4096), 0)
                """
            rows, _ = self.rows("filetop", workload, engine=engine)
            found = [row for row in rows if row["file"] == "data"]
            self.assertEqual([(row["reads"], row["writes"], row["r_kb"], row["w_kb"]) for row in found], [(10, 1, 80, 4)])
            rows, _ = self.rows("fileslower", workload, "0", engine=engine)
            found = [(row["direction"], row["bytes"]) for row in rows if row["filename"] == "data"]
            self.assertEqual(found, [("R", 8192)] * 10 + [("W", 4096)])
        self.both(check)

    CONNECTIONS = """
        import socket, threading
        server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen(5)
        port = server.getsockname()[1]
        def serve():
            peer, _ = server.accept()
            while peer.recv(65536): pass
            peer.close()
        thread = threading.Thread(target=serve); thread.start()
        client = socket.create_connection(("127.0.0.1", port))
        print(port, client.getsockname()[1], flush=True)
        client.sendall(bytes(20480))
        client.close(); thread.join()
        six = socket.socket(socket.AF_INET6)
        try:
            six.bind(("::1", 0)); six.listen(1)
        except OSError: raise SystemExit
        client = socket.create_connection(("::1", six.getsockname()[1])); peer = six.accept()[0]
        client.close(); peer.close()
        """

    def test_tcptracer(self):
        def check(engine):
            rows, own = self.rows("tcptracer", self.CONNECTIONS, "-4", engine=engine)
            server, client = map(int, own[0].split())
            seen = sorted((row["type"], row["dport"]) for row in rows)
            # The test's own names of ends: C and one X go to the server's port, A and the other X come from it.
            self.assertEqual(seen, sorted([("C", server), ("A", client), ("X", server), ("X", client)]), rows)
            self.assertEqual({row["daddr"] for row in rows}, {"127.0.0.1"})
            rows, _ = self.rows("tcptracer", self.CONNECTIONS, "-6", engine=engine)
            self.assertEqual({row["ip"] for row in rows} | {6}, {6})
        self.both(check)

    def test_tcpconnect_and_tcpaccept(self):
        def check(engine):
            rows, own = self.rows("tcpconnect", self.CONNECTIONS, "-4", engine=engine)
            self.assertEqual([(row["daddr"], row["dport"]) for row in rows], [("127.0.0.1", int(own[0].split()[0]))])
            rows, own = self.rows("tcpaccept", self.CONNECTIONS, "-4", engine=engine)
            server, client = map(int, own[0].split())
            self.assertEqual([(row["raddr"], row["rport"]) for row in rows], [("127.0.0.1", client)])
            self.assertEqual((rows[0]["laddr"], rows[0]["lport"]), ("127.0.0.1", server))
        self.both(check)
        self.assertIn("port numbers", self.skep("tcpconnect", "-P", "http", "--", "true", check=2).stderr)

    def test_ends_of_connections_that_are_closed_at_once(self):
        """The socket is asked while its call returns: however soon it is closed, its own address is known."""
        workload = """
            import os, socket
            server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen(64)
            for i in range(20):
                client = socket.create_connection(server.getsockname())
                print(client.getsockname()[1], flush=True)
                client.close(); server.accept()[0].close()
            later = socket.socket(); later.setblocking(False); later.connect_ex(server.getsockname())
            print(later.getsockname()[1], flush=True)
            os._exit(0)
            """

        def check(engine):
            for tool, local, port in (("tcpconnect", "saddr", "lport"), ("tcptracer", "saddr", "sport")):
                rows, own = self.rows(tool, workload, *(["-L"] if tool == "tcpconnect" else []), engine=engine)
                connects = [row for row in rows if row.get("type", "C") == "C"]
                self.assertEqual({row[local] for row in connects}, {"127.0.0.1"}, rows)
                self.assertEqual([row[port] for row in connects], [int(line) for line in own], tool)
        self.both(check)

    def test_datagrams_and_local_sockets_are_no_tcp(self):
        workload = """
            import socket
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(("127.0.0.1", 9)); s.close()
            a, b = socket.socketpair(); u = socket.socket(socket.AF_UNIX)
            try: u.connect("/no/such/socket")
            except OSError: pass
            t = socket.socket()
            try: t.connect(("127.0.0.1", 1))
            except OSError: pass
            """
        self.both(lambda engine: self.assertEqual([row["dport"] for row in self.rows("tcpconnect", workload, engine=engine)[0]], [1]))

    def test_tcplife(self):
        def check(engine):
            rows, own = self.rows("tcplife", self.CONNECTIONS, "-4", engine=engine)
            server, client = map(int, own[0].split())
            sent = {row["rport"]: row["tx_kb"] for row in rows}
            received = {row["rport"]: row["rx_kb"] for row in rows}
            self.assertEqual((sent[server], received[client]), (20, 20), rows)
            self.assertTrue(all(0 < row["ms"] < 10_000 for row in rows), rows)
        self.both(check)

    def test_bindsnoop_and_solisten(self):
        workload = """
            import socket
            s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", 0)); s.listen(7)
            print(s.getsockname()[1], flush=True)
            """

        def check(engine):
            rows, own = self.rows("bindsnoop", workload, engine=engine)
            self.assertEqual([row["addr"] for row in rows], ["127.0.0.1"])
            self.assertEqual([(row["port"], row["opts"], row["protocol"]) for row in rows], [(int(own[0]), "...R.", "TCP")])
            rows, own = self.rows("solisten", workload, engine=engine)
            self.assertEqual([(row["backlog"], row["proto"], row["port"]) for row in rows], [(7, "TCPv4", int(own[0]))])
        self.both(check)

    def test_mountsnoop(self):
        if os.geteuid() != 0:
            self.skipTest("mounting takes root")

        def check(engine):
            # A mount namespace of its own: nothing is mounted where others could see it.
            rows, _ = self.rows("mountsnoop", f"""
                import ctypes
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.unshare(0x20000) != 0: raise SystemExit(0)
                libc.mount(b"none", b"/", None, 0x44000, None)
                libc.mount(b"none", {str(self.directory).encode()!r}, b"tmpfs", 2, b"size=4k")
                libc.umount2({str(self.directory).encode()!r}, 2)
                """, engine=engine)
            calls = [row["call"] for row in rows]
            self.assertIn(f'mount("none", "{self.directory}", "tmpfs", MS_NOSUID, "size=4k") = 0', calls)
            self.assertIn(f'umount("{self.directory}", MNT_DETACH) = 0', calls)
        self.both(check)


class Behaviour(support.Case):
    def test_every_tool_has_help_with_an_example(self):
        tools = json.loads(self.skep("tools", "-j", check=0).stdout)
        self.assertGreater(len(tools), 15)
        for tool in tools:
            text = self.skep(tool["name"], "--help", check=0).stdout
            self.assertIn("examples:", text, tool["name"])
            self.assertIn(f"skep {tool['name']}", text)

    def test_wrong_use(self):
        self.assertIn("no verb", self.skep("nosuchsnoop", check=2).stderr)
        self.assertIn("--no-such", self.skep("opensnoop", "--no-such", check=2).stderr)
        self.assertIn("followed by a command", self.skep("opensnoop", "--", check=2).stderr)
        self.assertIn("user engine observes", self.skep("opensnoop", "--backend", "user", check=2).stderr)
        self.assertEqual(self.skep("opensnoop", "--", "/nowhere/command").returncode, 127)
        self.assertEqual(self.skep("opensnoop", "-d", "0").returncode, 2)

    def test_status_is_the_commands(self):
        self.assertEqual(self.skep("execsnoop", "--", "sh", "-c", "exit 7").returncode, 7)

    def test_headings_are_bccs(self):
        headings = {"opensnoop": "PID COMM FD ERR PATH", "execsnoop": "PCOMM PID PPID RET ARGS", "killsnoop": "TIME PID COMM SIG TPID RESULT",
                    "tcptracer": "T PID COMM IP SADDR DADDR SPORT DPORT", "tcpconnect": "PID COMM IP SADDR DADDR DPORT",
                    "tcpaccept": "PID COMM IP RADDR RPORT LADDR LPORT", "tcplife": "PID COMM LADDR LPORT RADDR RPORT TX_KB RX_KB MS",
                    "statsnoop": "PID COMM FD ERR PATH", "mountsnoop": "COMM PID TID MNT_NS CALL", "solisten": "PID COMM PROTO BACKLOG PORT ADDR",
                    "bindsnoop": "PID COMM PROT ADDR PORT OPTS IF", "fileslower": "TIME(s) COMM TID D BYTES LAT(ms) FILENAME"}
        for tool, heading in headings.items():
            first = self.skep(tool, "--", "true", check=0).stdout.splitlines()[0]
            self.assertEqual(first.split(), heading.split(), tool)

    @unittest.skipUnless(support.can_use_kernel_bpf(), "takes root and a kernel with BTF")
    def test_nothing_stays_after_sigkill(self):
        def ours():
            programs = json.loads(self.skep("prog", "show", "-j", check=0).stdout)
            return {p["id"] for p in programs if p.get("name", "").startswith("kernel_sys_ex")}
        before = ours()
        process = self.start("opensnoop")
        process.stdout.readline()
        self.assertTrue(ours() - before)
        process.kill()
        process.wait()
        deadline = time.monotonic() + 10
        while ours() - before and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(ours() - before, set())

    @unittest.skipUnless(support.can_use_kernel_bpf(), "takes root and a kernel with BTF")
    def test_a_process_by_number(self):
        reader = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time\nwhile True: open('/dev/null').close(); time.sleep(0.01)"])
        self.addCleanup(reader.wait)
        self.addCleanup(reader.kill)
        for engine in engines():
            rows = self.skep("opensnoop", "-j", "-d", "1", "--backend", engine, "-p", reader.pid, check=0).stdout.splitlines()
            paths = {(row["pid"], row["path"]) for row in map(json.loads, rows)}
            self.assertIn((reader.pid, "/dev/null"), paths)
            self.assertEqual({pid for pid, _ in paths}, {reader.pid})

    @unittest.skipUnless(support.can_use_kernel_bpf(), "takes root and a kernel with BTF")
    def test_socket_states(self):
        process = self.start("tcpstates", "-j", "-4")
        time.sleep(1)
        server = socket.socket()
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        client = socket.create_connection(server.getsockname())
        ports = server.getsockname()[1], client.getsockname()[1]
        peer, _ = server.accept()
        client.close()
        peer.close()
        server.close()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        rows = [json.loads(line) for line in process.communicate(timeout=20)[0].splitlines()]
        mine = [(row["oldstate"], row["newstate"]) for row in rows if (row["lport"], row["rport"]) == (ports[1], ports[0])]
        self.assertEqual(mine[0], ("SYN_SENT", "ESTABLISHED"))
        self.assertIn(("ESTABLISHED", "FIN_WAIT1"), mine)

    @unittest.skipUnless(support.can_use_kernel_bpf(), "takes root and a kernel with BTF")
    def test_user_functions(self):
        process = self.start("gethostlatency", "-j")
        time.sleep(1)
        subprocess.run([sys.executable, "-I", "-c", "import socket; socket.getaddrinfo('localhost', 80)"], check=True)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        rows = [json.loads(line) for line in process.communicate(timeout=20)[0].splitlines()]
        self.assertIn("localhost", [row["host"] for row in rows])


@unittest.skipUnless(support.can_use_kernel_bpf(), "takes root and a kernel with BTF")
class Functions(support.Case):
    """Functions of the C library, in the kernel engine; `-- CMD` picks out the command's processes."""

    CALLS = "import ctypes, os\nlibc = ctypes.CDLL(None)\nfor _ in range(1000): libc.getppid()\n"

    def run_tool(self, tool, *options, script=CALLS, check=0):
        return self.skep(tool, *options, "--", sys.executable, "-I", "-S", self.write("calls.py", script), check=check)

    def test_funccount(self):
        rows = [json.loads(line) for line in self.run_tool("funccount", "-j", "c:getppid").stdout.splitlines()]
        self.assertEqual([(row["func"], row["count"]) for row in rows], [("getppid", 1000)])
        rows = [json.loads(line) for line in self.run_tool("funccount", "-j", "t:sched:sched_process_e*").stdout.splitlines()]
        self.assertEqual({row["func"] for row in rows}, {"sched:sched_process_exec", "sched:sched_process_exit"})
        self.assertIn("nothing matches", self.run_tool("funccount", "c:no_such_function_*", check=1).stderr)
        self.assertIn("not a regular expression", self.run_tool("funccount", "-r", "c:(", check=2).stderr)

    def test_funclatency(self):
        rows = [json.loads(line) for line in self.run_tool("funclatency", "-j", "c:getppid").stdout.splitlines()]
        self.assertEqual(sum(slot["count"] for slot in rows[0]["histogram"]), 1000)
        text = self.run_tool("funclatency", "-F", "c:getppid").stdout
        self.assertIn("Function = getppid", text)
        self.assertRegex(text, r"avg = \d+ nsecs, total: \d+ nsecs, count: 1000")

    def test_funcslower(self):
        script = "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.usleep(20000)\nlibc.usleep(10)\n"
        rows = [json.loads(line) for line in self.run_tool("funcslower", "-j", "-m", "15", "-a", "1", "c:usleep", script=script).stdout.splitlines()]
        self.assertEqual([row["func"] for row in rows], ["usleep 0x4e20"])
        self.assertGreaterEqual(rows[0]["lat"], 20)

    def test_stackcount(self):
        rows = [json.loads(line) for line in self.run_tool("stackcount", "-j", "-U", "c:getppid").stdout.splitlines()]
        self.assertEqual(sum(row["count"] for row in rows), 1000)

    def test_memleak(self):
        script = ("import ctypes\nlibc = ctypes.CDLL(None)\nlibc.malloc.restype = ctypes.c_void_p\nlibc.free.argtypes = [ctypes.c_void_p]\n"
                  "for i in range(100):\n  libc.malloc(12345)\n  libc.free(libc.malloc(23456))\n")
        rows = [json.loads(line) for line in self.run_tool("memleak", "-j", "-o", "0", "-z", "12000", "-Z", "24000", "1000", script=script).stdout.splitlines()]
        self.assertEqual(sum(row["allocations"] for row in rows if row["bytes"] % 12345 == 0), 100, rows)
        self.assertEqual([row for row in rows if row["bytes"] % 23456 == 0], [])

    def test_sslsniff(self):
        script = ("import ssl\na, b = ssl.MemoryBIO(), ssl.MemoryBIO()\n"
                  "c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(a, b, server_hostname='x')\n"
                  "try: c.do_handshake()\nexcept ssl.SSLWantReadError: pass\n")
        result = self.run_tool("sslsniff", "-j", "--handshake", script=script, check=None)
        if "no TLS library" in result.stderr:
            self.skipTest("no OpenSSL, GnuTLS or NSS on this machine")
        kinds = [json.loads(line)["func"] for line in result.stdout.splitlines()]
        self.assertTrue(kinds == ["HANDSHAKE"] or kinds == [], kinds)  # [] where the interpreter has OpenSSL inside


    @unittest.skipUnless(support.can_use_kernel_bpf(), "takes root and a kernel with BTF")
    def test_the_kernel_engine_ends_with_its_process(self):
        for tool in ["opensnoop"], ["memleak"], ["funccount", "c:malloc"]:
            process = subprocess.Popen(["sleep", "0.7"])
            begin = time.monotonic()
            result = self.skep(*tool, "--backend", "kernel", "-p", process.pid, check=0)
            process.wait()
            self.assertIn(f"process {process.pid} has ended", result.stderr)
            self.assertLess(time.monotonic() - begin, 20)
            self.assertIn("there is no process", self.skep(*tool, "--backend", "kernel", "-p", process.pid, check=1).stderr)

    def test_lines_of_bccs_manual_pages(self):
        """Names and forms of options as BCC's manual pages have them."""
        threads = "import threading\nfor i in range(3):\n  t = threading.Thread(target=int); t.start(); t.join()\n"
        rows = [json.loads(line) for line in self.run_tool("funccount", "-j", "pthread:pthread_create", script=threads).stdout.splitlines()]
        self.assertEqual([(row["func"], row["count"]) for row in rows], [("pthread_create", 3)], "since glibc 2.34 it is in libc.so.6")
        for option, label in (["--label", "END"], "END"), (["--label=END"], "END"), (["-t", "--label"], "exit"):
            out = self.skep("exitsnoop", *option, "--", "true", check=0).stdout.splitlines()
            self.assertRegex(out[0], r"^(TIME +)?LABEL +PCOMM")
            self.assertRegex(out[1], rf"^(\S+ +)?{label} +true ")
        leaks = self.write("leak.py", "import ctypes\nfor i in range(7): ctypes.CDLL(None).malloc(54321)\n")
        out = self.skep("memleak", "-o", "0", "-z", "54000", "-Z", "55000", "-c", f"{sys.executable} -I -S {leaks}", "1000", check=0).stdout
        self.assertRegex(out, r"(?m)^\t380247 bytes in 7 allocations from stack|^\t54321 bytes in 1 allocations from stack")


class Trace(support.Case):
    """Probes that the command line says, as C that is compiled when it runs."""

    @classmethod
    def setUpClass(cls):
        support.need_clang()
        super().setUpClass()

    def messages(self, *arguments):
        return [json.loads(line)["message"] for line in self.skep("trace", "-j", *arguments, check=0).stdout.splitlines() if line.startswith("{")]

    def test_a_system_call(self):
        script = self.write("open.py", "import os\nos.open('/dev/null', os.O_WRONLY)\nos.open('/dev/zero', os.O_RDONLY)\n")
        command = ["--", sys.executable, "-I", "-S", script]
        probe = 't:syscalls:sys_enter_openat (args->flags & 1) "%s %#o %5d|%%", args->filename, args->flags & 3, $pid - $tid'
        self.assertEqual(self.messages(probe, *command), ["/dev/null 01     0|%"])
        if support.can_use_kernel_bpf():
            self.assertEqual(self.messages("--backend", "kernel", probe, *command), ["/dev/null 01     0|%"])

    @unittest.skipUnless(support.can_use_kernel_bpf(), "takes root and a kernel with BTF")
    def test_a_function_with_its_signature(self):
        script = "import ctypes, time\nlibc = ctypes.CDLL(None)\nwhile True:\n  libc.setenv(b'SKEP_NAME', b'value', 1); libc.getenv(b'SKEP_NAME'); time.sleep(0.01)\n"
        process = subprocess.Popen([sys.executable, "-I", "-c", script])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        messages = self.messages("--backend", "kernel", "-p", process.pid, "-M", "3", 'c:setenv(const char *name, const char *value) "%s=%s %d", name, value, arg3')
        self.assertEqual(messages, ["SKEP_NAME=value 1"] * 3)

    def test_whose_calls_and_when(self):
        """-L, --uid, -u: BCC's options for threads, users and times since 1970."""
        script = self.write("threads.py", textwrap.dedent("""
            import os, threading
            def look(path): os.open(path, os.O_RDONLY)
            for path in ("/dev/null", "/dev/zero"):
                thread = threading.Thread(target=look, args=(path,)); thread.start(); thread.join()
            """))
        probe, command = 't:syscalls:sys_enter_openat "%s", args->filename', ["--", sys.executable, "-I", "-S", script]
        opened = lambda *options: [one for one in self.messages(*options, probe, *command) if one.startswith("/dev/")]
        self.assertEqual(opened("--uid", os.geteuid()), ["/dev/null", "/dev/zero"])
        self.assertEqual(opened("--uid", os.geteuid() + 1), [])
        self.assertEqual(opened("-L", 1), [])
        begin = time.time()
        rows = [json.loads(line) for line in self.skep("trace", "-j", "-t", "-u", probe, *command, check=0).stdout.splitlines() if line.startswith("{")]
        self.assertTrue(rows and all(begin - 1 < row["time_s"] < time.time() + 1 for row in rows), rows[:1])
        self.assertIn("--timestamp", self.skep("trace", "-u", probe, *command, check=2).stderr)
        self.assertIn("not both", self.skep("trace", "-L", 1, "-p", os.getpid(), probe, check=2).stderr)

    def test_bad_probes(self):
        for probe, words in [("t:nosuch", "expected FUNCTION"), ("x:c:f", "no kind of probe"), ('c:f "%s"', "wants 1 values"), ('c:f (a', "not closed"),
                             ('c:f "%y", 1', "expected a conversion"), ("c:f nonsense", "in quotation marks"), ("c:no_such_function_anywhere", "nothing matches"),
                             ('t:syscalls:sys_enter_close (nosuch)', "undeclared identifier")]:
            result = self.skep("trace", probe, "--", "true")
            self.assertNotEqual(result.returncode, 0, probe)
            self.assertIn(words, result.stderr, probe)


if __name__ == "__main__":
    support.main()
