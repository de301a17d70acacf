"""What the end-to-end tests share: the binary under test, a cache of its own, processes that are always ended."""
import ctypes
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

SKEP = os.environ["SKEP"]
SOURCE = pathlib.Path(os.environ["SKEP_SOURCE"])
EXAMPLES = SOURCE / "examples"

TRACE_LINE = r"^ *(?P<comm>.{1,16})-(?P<pid>\d+) +\[(?P<cpu>\d{3})\] \S{3,6} +(?P<time>\d+\.\d{6}): bpf_trace_printk: (?P<text>.*)$"


class Case(unittest.TestCase):
    """A test with a directory and a compile cache of its own."""

    @classmethod
    def setUpClass(cls):
        cls.directory = pathlib.Path(tempfile.mkdtemp(prefix="skep-e2e-"))
        cls.directory.chmod(0o755)
        cls.environment = dict(os.environ, XDG_CACHE_HOME=str(cls.directory / "cache"), XDG_RUNTIME_DIR=str(cls.directory / "run"), LC_ALL="C")
        (cls.directory / "run").mkdir(mode=0o700)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.directory, ignore_errors=True)

    def write(self, name, text):
        path = self.directory / name
        path.write_text(text)
        return str(path)

    def skep(self, *arguments, check=None, user=None, timeout=60, **options):
        """Runs skep to its end. `check`: the exit status that is expected."""
        if user is not None:
            options.update(demoted(user))
        environment = options.pop("env", self.environment)
        result = while_the_pipe_is_taken(lambda: subprocess.run(
            [SKEP, *map(str, arguments)], text=True, errors="replace", capture_output=True, timeout=timeout, env=environment, **options))
        if check is not None:
            self.assertEqual(result.returncode, check, f"skep {' '.join(map(str, arguments))}\nstdout: {result.stdout}\nstderr: {result.stderr}")
        return result

    def start(self, *arguments, **options):
        """Starts skep and makes sure that it ends with the test."""
        process = subprocess.Popen([SKEP, *map(str, arguments)], text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=options.pop("env", self.environment), **options)
        self.addCleanup(finish, process)
        return process

    def attached(self, *arguments):
        """A tool that prints nothing at first, attached: from then on it ends by itself at SIGINT."""
        process = self.start(*arguments)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and process.poll() is None:
            with open(f"/proc/{process.pid}/status") as status:
                caught = next(int(line.split()[1], 16) for line in status if line.startswith("SigCgt"))
            if caught >> (signal.SIGINT - 1) & 1:
                return process
            time.sleep(0.01)
        self.fail(f"{arguments}: {process.poll() is not None and process.stderr.read()}")

    def interrupted(self, process):
        """What a tool printed until SIGINT."""
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 0, err)
        return out


def while_the_pipe_is_taken(run):
    """Calls `run` again while another test of this machine reads the kernel's trace pipe, which has one reader at a time."""
    for _ in range(20):
        result = run()
        if "trace_pipe: Device or resource busy" not in str(result):
            break
        time.sleep(2)
    return result


def finish(process):
    if process.poll() is None:
        process.kill()
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream and not stream.closed:
            stream.close()


def demoted(user):
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def need(condition, what):
    if not condition:
        raise unittest.SkipTest(what)


def need_clang():
    need(any(shutil.which(name) for name in ["clang", *[f"clang-{n}" for n in range(14, 25)]]), "clang is not installed (Debian package clang): C sources cannot be compiled here")


def can_use_kernel_bpf():
    """Root, or the capabilities that loading and attaching take; asked of the process, not of skep."""
    with open("/proc/self/status") as status:
        effective = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff"))
    return bool(effective & (1 << 39 | 1 << 21)) and bool(effective & (1 << 38 | 1 << 21)) and os.path.exists("/sys/kernel/btf/vmlinux")


def own_bpffs():
    """Pins of this test lie in a mount of its own, which goes with its last process, killed or not. Without root: nothing."""
    new_mounts, recursive, private = 0x20000, 0x4000, 0x40000
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0 and os.path.isdir("/sys/fs/bpf") and libc.unshare(new_mounts) == 0 and libc.mount(None, b"/", None, recursive | private, None) == 0:
        libc.mount(b"bpf", b"/sys/fs/bpf", b"bpf", 0, b"mode=700")


def main():
    own_bpffs()
    unittest.main(argv=[sys.argv[0], *sys.argv[1:]])
