"""Tools whose events are functions of programs: as an ordinary user on a command, and in the kernel, where that may be
done. Each runs beside a program that calls known functions a known number of times."""
import json
import os
import pathlib
import pty
import re
import shutil
import subprocess
import sys
import unittest

import support

MACHINE = "arm64" if os.uname().machine == "aarch64" else "x64"
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable  # Debian's has static probes


def engines():
    """The options of each engine, and as whom."""
    yield "user", "nobody" if os.geteuid() == 0 else None
    if support.can_use_kernel_bpf():
        yield "kernel", None


def has_probes(path):
    """Whether a file has static probes."""
    return os.path.exists(path) and b"stapsdt" in pathlib.Path(path).read_bytes()


class Functions(support.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name in ["cache", "run"]:
            (cls.directory / f"nobody-{name}").mkdir(mode=0o777)
            (cls.directory / f"nobody-{name}").chmod(0o777)

    def on(self, script, check, command=None):
        """Runs check(run) for each engine; run(tool, *options) gives the tool's JSON rows about the script."""
        command = command or [PYTHON, "-I", "-S", self.write("workload.py", script)]
        for engine, user in engines():
            def run(tool, *options, status=0):
                options = [tool, "-j", "--backend", engine, *options, "--", *command]
                own = {} if user is None else {"env": dict(self.environment, XDG_CACHE_HOME=str(self.directory / "nobody-cache"),
                                                           XDG_RUNTIME_DIR=str(self.directory / "nobody-run"), HOME="/nonexistent")}
                result = self.skep(*options, user=user, check=status, **own)
                self.errors = result.stderr
                return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
            run.engine = engine
            with self.subTest(engine=engine, user=user):
                check(run)
        if not support.can_use_kernel_bpf():
            print("the kernel's half is left out: it takes root and a kernel with BTF", file=sys.stderr)

    CALLS = "import ctypes\nlibc = ctypes.CDLL(None)\nfor _ in range(200): libc.getppid()\n"

    def test_funccount(self):
        def check(run):
            rows = run("funccount", "c:getp[gp]*d")
            self.assertEqual({row["func"]: row["count"] for row in rows}, {"getppid": 200})
            self.assertRegex(self.errors, r"counting (\d+) of \1 places")
        self.on(self.CALLS, check)

    def test_tracepoints_are_counted_each_by_itself(self):
        def check(run):
            rows = run("funccount", "t:syscalls:sys_e[nx]*_getp[gp]id")
            counts = {row["func"]: row["count"] for row in rows}
            self.assertEqual(counts, {"syscalls:sys_enter_getppid": 200, "syscalls:sys_exit_getppid": 200,
                                      "syscalls:sys_enter_getpgid": 3, "syscalls:sys_exit_getpgid": 3})
            (row,) = run("stackcount", "-U", "t:syscalls:sys_enter_getpgid")
            self.assertEqual(row["count"], 3)
        self.on(self.CALLS + "for _ in range(3): libc.getpgid(0)\n", check)

    def test_nothing_to_count_is_an_error_with_a_command_too(self):
        """In the kernel, what follows the command's forks is attached whatever becomes of the probe."""
        support.need(support.can_use_kernel_bpf(), "the kernel engine takes root and a kernel with BTF")
        for tool in ("funccount", "stackcount"):
            result = self.skep(tool, "--backend", "kernel", "no_such_function_of_linux", "--", "echo", "was-run", check=1)
            self.assertIn("no_such_function_of_linux", result.stderr)
            self.assertNotIn("was-run", result.stdout)

    def test_funclatency(self):
        def check(run):
            (row,) = run("funclatency", "c:getppid")
            self.assertEqual(sum(slot["count"] for slot in row["histogram"]), 200)
        self.on(self.CALLS, check)

    def test_funcslower(self):
        def check(run):
            rows = run("funcslower", "-m", "15", "-a", "1", "c:usleep")
            self.assertEqual([row["func"] for row in rows], ["usleep 0x4e20"])
            self.assertGreaterEqual(rows[0]["lat"], 20)
        self.on("import ctypes\nlibc = ctypes.CDLL(None)\nlibc.usleep(20000)\nlibc.usleep(10)\n", check)

    def test_stackcount(self):
        def check(run):
            rows = run("stackcount", "-U", "c:getppid")
            self.assertEqual(sum(row["count"] for row in rows), 200, rows)
            # The process has ended by now: it was looked at while it lived.
            self.assertIn("getppid", rows[0]["folded"])
        self.on(self.CALLS + "import time\ntime.sleep(0.2)\n", check)

    def test_stacks_of_processes_that_are_gone_at_once(self):
        """Each lives for a millisecond, and is started by the command: nobody could look at them in time."""
        support.need(support.can_use_kernel_bpf(), "the kernel engine takes root and a kernel with BTF")
        result = self.skep("stackcount", "--backend", "kernel", "-P", "-U", "-f", "c:exit", "--",
                           "sh", "-c", "for i in 1 2 3 4 5; do /bin/true; done", check=0)
        rows = [line for line in result.stdout.splitlines() if line.startswith("true;")]
        self.assertEqual(len(rows), 5, result.stdout + result.stderr)
        for row in rows:
            self.assertTrue(row.endswith("exit 1"), row)

    def test_inlined_functions_stand_in_stacks(self):
        compiler = shutil.which("g++") or shutil.which("clang++")
        support.need(compiler, "left out: no C++ compiler makes the program")
        program = str(self.directory / "inlined")
        # At its first instruction a function has no frame yet: the one that calls it, ask(), is not in the kernel's stack.
        # The name of the file is hostile: to terminals, and to folded lines.
        source = self.write("in\x1b;lined.cpp", """#include <unistd.h>
[[gnu::noinline]] int ask() { int parent = getppid(); asm volatile("" ::: "memory"); return parent; }
[[gnu::always_inline]] static inline int innermost() {
  return ask() + 1;
}
[[gnu::always_inline]] static inline int middle() {
  return innermost() * 3;
}
[[gnu::noinline]] int outermost() {
  int result = middle();
  asm volatile("" ::: "memory");
  return result;
}
int main() {
  for (volatile int i = 0; i < 5; i = i + 1) outermost();
  usleep(300000);
}
""")
        subprocess.run([compiler, "-O2", "-g", "-fno-omit-frame-pointer", source, "-o", program], check=True)

        def check(run):
            def stack(*options):
                (row,) = run("stackcount", *options, "-U", "c:getppid")
                self.assertEqual(row["count"], 5)
                folded = row["folded"]
                if run.engine == "user":
                    self.assertRegex(folded, r";ask\(\)[^;]*;getppid")
                return re.sub(r";ask\(\)[^;]*;getppid", ";getppid", folded)
            self.assertIn("outermost();getppid", stack("--no-inlined"))
            with_lines = stack("--lines")
            if "libdw" in self.errors:
                self.assertIn("outermost();getppid", with_lines)
                print("inlined functions are left out: " + self.errors, file=sys.stderr)
                return
            file = "in\\x1b:lined.cpp"
            self.assertIn(f"outermost() ({file}:10);middle (inlined) ({file}:7);innermost (inlined) ({file}:4);getppid", with_lines)
            self.assertIn("outermost();middle_[i];innermost_[i];getppid", stack("-f"))
        self.on(None, check, command=[program])

    def test_memleak(self):
        script = ("import ctypes\nlibc = ctypes.CDLL(None)\nlibc.malloc.restype = ctypes.c_void_p\nlibc.free.argtypes = [ctypes.c_void_p]\n"
                  "for i in range(100):\n  libc.malloc(12345)\n  libc.free(libc.malloc(23456))\n")

        def check(run):
            rows = run("memleak", "-o", "0", "-z", "12000", "-Z", "24000", "1000")
            self.assertEqual(sum(row["allocations"] for row in rows if row["bytes"] % 12345 == 0), 100, rows)
            self.assertEqual([row for row in rows if row["bytes"] % 23456 == 0], [])
        self.on(script, check)

    def test_gethostlatency(self):
        def check(run):
            rows = run("gethostlatency")
            self.assertEqual([row["host"] for row in rows if row["host"] == "localhost"], ["localhost"])
            self.assertGreater(rows[0]["lat_ms"], 0)
        self.on("import socket\nsocket.getaddrinfo('localhost', 80)\n", check)

    def test_sslsniff(self):
        support.need(subprocess.run([PYTHON, "-c", "import ssl"]).returncode == 0 and any(pathlib.Path("/usr/lib").glob("*/libssl.so*")),
                     "left out: no OpenSSL as a library")
        key, certificate = str(self.directory / "key"), str(self.directory / "certificate")
        made = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x",
                               "-keyout", key, "-out", certificate, "-days", "2"], capture_output=True) if shutil.which("openssl") else None
        support.need(made and made.returncode == 0, "left out: no openssl to make a certificate with")
        os.chmod(key, 0o644)
        script = f"""
import ssl
there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server_context.load_cert_chain({certificate!r}, {key!r})
client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
client_context.check_hostname, client_context.verify_mode = False, ssl.CERT_NONE
client = client_context.wrap_bio(back, there)
server = server_context.wrap_bio(there, back, server_side=True)
for _ in range(4):
    for end in client, server:
        try: end.do_handshake()
        except ssl.SSLWantReadError: pass
client.write(b"who goes there")
assert server.read(100) == b"who goes there"
"""

        def check(run):
            rows = run("sslsniff")
            texts = [(row["func"], row["data"]) for row in rows]
            self.assertIn(("WRITE/SEND", "who goes there"), texts)
            self.assertIn(("READ/RECV", "who goes there"), texts)
        self.on(script, check)

    def test_exitsnoop(self):
        script = "import os, signal\nif os.fork() == 0: os._exit(3)\nos.wait()\nif os.fork() == 0: os.kill(os.getpid(), signal.SIGKILL)\nos.wait()\nprint(os.getpid())\n"

        def check(run):
            rows = run("exitsnoop")
            self.assertEqual([row["exit"] for row in rows], ["code 3", "signal 9 (KILL)", "0"], rows)
            self.assertEqual([row["ppid"] for row in rows[:2]], [rows[2]["pid"]] * 2)
            self.assertTrue(all(0 <= row["age_s"] < 60 for row in rows), rows)
        self.on(script, check)

    def test_bashreadline(self):
        support.need(shutil.which("bash"), "left out: no bash")
        for engine, user in engines():
            with self.subTest(engine=engine, user=user):
                ours, theirs = pty.openpty()
                try:
                    os.write(ours, b"echo one two\nexit 7\n")
                    result = self.skep("bashreadline", "-j", "--backend", engine, "--", "/bin/bash", "--norc", "--noprofile", "-i",
                                       user=user, stdin=theirs, start_new_session=True)
                finally:
                    os.close(ours)
                    os.close(theirs)
                rows = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
                self.assertEqual([row["command"] for row in rows], ["echo one two", "exit 7"], result.stderr)
                self.assertEqual(result.returncode, 7)

    def test_threads(self):
        script = "import threading\nfor _ in range(3):\n  t = threading.Thread(target=int); t.start(); t.join()\n"

        def check(run):
            rows = run("threadsnoop")
            self.assertEqual(len(rows), 3, rows)
            rows = run("uthreads", "-l", "c")
            self.assertEqual([row["type"] for row in rows], ["pthread"] * 3)
            self.assertEqual(len({row["id"] for row in rows}), 3)
        self.on(script, check)

    # ---- ucalls: methods, by the static probes of a runtime

    METHODS = ("import os\ndef inner(n): return inner(n - 1) if n else os.getppid()\n"
               "def outer():\n  try: inner(4); raise ValueError\n  except ValueError: pass\n"
               "list(map(lambda _: outer(), range(10)))\n")

    def test_ucalls(self):
        support.need(has_probes(PYTHON), f"left out: {PYTHON} has no static probes")

        def check(run):
            for options in [], ["-L"]:
                rows = run("ucalls", *options)
                calls = {pathlib.Path(row["method"]).name: row for row in rows}
                self.assertEqual((calls["workload.py.inner"]["calls"], calls["workload.py.outer"]["calls"]), (50, 10), rows)
            # Python 3.11 does not tell when functions begin.
            self.assertTrue(all((row["time_us"] == 0) == (row["untimed"] == row["calls"]) for row in rows), rows)
            rows = run("ucalls", "-l", "python", "-T", "1")
            self.assertEqual(len(rows), 1)
            rows = {row["method"]: row["calls"] for row in run("ucalls", "-l", "none", "-S")}
            self.assertEqual(rows["getppid"], 10)
        self.on(self.METHODS, check)

    def test_ucalls_of_a_runtime_with_times(self):
        program = pathlib.Path(os.environ["SKEP_BUILD"]) / "tests/tools/tools_methods"
        support.need(program.exists(), "left out: the runtime of this test is made for x86-64")
        shutil.copy(program, self.directory / "methods")

        def check(run):
            rows = {row["method"]: row for row in run("ucalls", "-L")}
            self.assertEqual({name: row["calls"] for name, row in rows.items()}, {"Number.factorial": 5, "Kernel.sleep": 3, "Main.run": 1})
            self.assertTrue(60_000 <= rows["Kernel.sleep"]["time_us"] <= rows["Main.run"]["time_us"] < 60e6, rows)
            # Each of the five is counted from its own beginning: the outer ones hold the inner ones.
            self.assertTrue(0 < rows["Number.factorial"]["time_us"] < 60e6, rows)
            self.assertEqual({row["untimed"] for row in rows.values()}, {0})
            rows = {row["method"]: row["calls"] for row in run("ucalls", "-l", "ruby", "--runtime", str(self.directory / "methods"))}
            self.assertEqual(rows, {"Number.factorial": 5, "Kernel.sleep": 3, "Main.run": 1, "Main.leaving": 3, "Kernel.leaving": 3})
        self.on("", check, command=[str(self.directory / "methods")])

    def test_ucalls_says_what_is_missing(self):
        self.assertIn("say which process", self.skep("ucalls", check=2).stderr)
        self.assertIn("add -S", self.skep("ucalls", "-l", "none", "--", "true").stderr)
        self.assertIn("no runtime with probes of java", self.skep("ucalls", "-l", "java", "--", "true").stderr)
        self.assertIn("there is no command", self.skep("ucalls", "--", "no-such-command-anywhere").stderr)

    # ---- argdist

    def test_argdist_counts(self):
        support.need_clang()
        script = "import ctypes\nlibc = ctypes.CDLL(None)\nfor i in range(30): libc.abs(i % 3 - 1)\nlibc.setenv(b'NAME', b'value', 1)\n"

        def check(run):
            rows = run("argdist", "-i", "60", "-C", "p:c:abs(int n):int:n", "-C", "r:c:abs(int n):int,int:$entry(n),$retval:$retval>0#positive",
                       "-C", 'p:c:setenv(const char *name, const char *value):char*,char*:name,value:STRCMP("NA", name)',
                       "-C", 'p:c:setenv(const char *name):int:1:STRCMP("NB", name)#none', "-C", "p:c:abs()#calls")
            by_probe = {}
            for row in rows:
                by_probe.setdefault(row["probe"], []).append((row["count"], row["values"]))
            self.assertEqual(sorted(by_probe.pop("p:c:abs(int n):int:n"), key=str), [(10, {"n": -1}), (10, {"n": 0}), (10, {"n": 1})])
            self.assertEqual(sorted(by_probe.pop("positive"), key=str), [(10, {"n": -1, "$retval": 1}), (10, {"n": 1, "$retval": 1})])
            self.assertEqual(by_probe.pop("calls"), [(30, {})])
            ((_, found),) = by_probe.items()
            self.assertEqual(found, [(1, {"name": "NAME", "value": "value"})])
        self.on(script, check)

    def test_argdist_histograms(self):
        support.need_clang()
        script = "import ctypes\nlibc = ctypes.CDLL(None)\nfor i in range(20): libc.usleep(1000)\nfor i in range(5): libc.usleep(20000)\n"

        def check(run):
            rows = run("argdist", "-i", "60", "-H", "p:c:usleep(u32 us):u32:us", "-H", "r:c:usleep(u32 us):u64:$latency/1000:$entry(us)>=20000#slow")
            slots = {row["probe"]: {(slot["from"], slot["to"]): slot["count"] for slot in row["histogram"]} for row in rows}
            self.assertEqual(slots["p:c:usleep(u32 us):u32:us"], {(512, 1023): 20, (16384, 32767): 5})
            self.assertEqual(sum(slots["slow"].values()), 5)
            self.assertGreaterEqual(min(start for start, _ in slots["slow"]), 16384)
        self.on(script, check)

    def test_argdist_of_static_probes_and_tracepoints(self):
        support.need_clang()
        support.need(has_probes(PYTHON), f"left out: {PYTHON} has no static probes")

        def check(run):
            rows = run("argdist", "-i", "60", "-C", f'u:{PYTHON}:function__return():char*:arg2:STRCMP("inner", arg2)#calls',
                       "-C", "t:syscalls:sys_enter_getppid():u32:$pid#ppid")
            calls = [row for row in rows if row["probe"] == "calls"]
            self.assertEqual([(row["count"], row["values"]) for row in calls], [(50, {"arg2": "inner"})])
            self.assertIn(10, [row["count"] for row in rows if row["probe"] == "ppid"])
        self.on(self.METHODS, check)

    def test_argdist_prints_as_bcc_does(self):
        support.need_clang()
        result = self.skep("argdist", "-i", "60", "-C", "p:c:getppid():int:1", "-C", "r:c:getppid()", "-H", "p:c:getppid():int:7#sevens", "--",
                           PYTHON, "-I", "-S", self.write("calls.py", self.CALLS), check=0)
        lines = result.stdout.splitlines()
        self.assertRegex(lines[0], r"^\[\d\d:\d\d:\d\d\]$")
        self.assertEqual(lines[1:4], ["p:c:getppid():int:1", "\tCOUNT      EVENT", "\t200        1 = 1"])
        self.assertRegex(lines[6], r"^\t200        retval = \d+$")
        self.assertEqual(lines[7:9], ["     sevens              : count     distribution", "         0 -> 1          : 0        |" + " " * 40 + "|"])

    def test_argdist_refuses(self):
        for options, words in [(["-C", "p:c:abs(int n):int"], "expected TYPE"), (["-C", "p:c:abs(int n):int:$latency"], "returns (r:...) only"),
                               (["-C", "r:c:abs(int n):int:$entry(m)"], "parameter of the signature"), (["-H", "p:c:abs()"], "takes TYPE:EXPRESSION"),
                               (["-H", "p:c:abs(char *n):char*:n"], "count texts"), (["-C", "x:c:abs()"], "no kind of probe"),
                               (["-C", "p:c:no_such_function_anywhere()"], "nothing matches"), ([], "-C or -H"),
                               (["-C", "p:c:abs(int n):int,int:n"], "2 types for 1"), (["-C", "p:c:abs(int n"], "not closed"),
                               (["-C", "p:c:abs(int n):int:nosuch"], "undeclared identifier")]:
            result = self.skep("argdist", *options, "--", "true")
            self.assertNotEqual(result.returncode, 0, options)
            self.assertIn(words, result.stderr, options)

    def test_trace_of_a_system_call(self):
        """Its function is given the registers of the caller; what is asked for are the arguments of the call."""
        support.need_clang()

        def check(run):
            for probe in ('sys_openat (arg3 & 1) "%s %o", arg2, arg4',
                          f'p::__{MACHINE}_sys_openat(int fd, const char *name, int flags, int mode) (flags & 1) "%s %o", name, mode'):
                self.assertEqual([row["message"] for row in run("trace", probe)], ["/nowhere/at-all 640"], self.errors)
            for name in ("sys_uname", "sys_newuname"):  # the call, and the kernel's function of it
                self.assertEqual([row["message"] for row in run("trace", f'{name} "%d", arg1 != 0')], ["1"], self.errors)
        self.on("import os\ntry: os.open('/nowhere/at-all', os.O_WRONLY | os.O_CREAT, 0o640)\nexcept OSError: pass\nos.uname()\n", check)

    def test_trace_of_a_pattern(self):
        """Each function of the name, not the first."""
        support.need_clang()

        def check(run):
            rows = run("trace", 'r:c:getp[gp]*d "%d", retval != 0')
            self.assertEqual([row["message"] for row in rows], ["1", "1"] * 3, rows)
            rows = run("argdist", "-C", "p:c:getp[gp]*d():int:1", "-i", "60")
            self.assertEqual([row["count"] for row in rows], [6], rows)
        self.on("import ctypes, os\nlibc = ctypes.CDLL(None)\nfor i in range(3): libc.getppid(), libc.getpgid(0)\n", check)

    def test_trace_of_a_static_probe(self):
        support.need_clang()
        support.need(has_probes(PYTHON), f"left out: {PYTHON} has no static probes")

        def check(run):
            rows = run("trace", f'u:{PYTHON}:function__return "%s", arg2')
            self.assertEqual([row["message"] for row in rows if row["message"] == "outer"], ["outer"] * 10, rows)
            self.assertEqual([row["message"] for row in run("trace", 'r:c:getppid "%d", retval != 0')], ["1"] * 10)
            (refused,) = run("trace", f"u:{PYTHON}:function__*", status=2)
            self.assertIn("static probes: name one of them", refused["error"])
        self.on(self.METHODS, check)


if __name__ == "__main__":
    support.main()
