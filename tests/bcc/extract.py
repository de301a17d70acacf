#!/usr/bin/python3
"""The C texts that BCC's tools would compile, taken from an installed bpfcc-tools.

A tool is run unchanged, with arguments from TOOLS below, on BCC's own Python module, except that BPF objects only
record what they are given: the text, the flags, the USDT probes, and then where each function is attached. Nothing is
compiled and nothing is attached; the tool is ended where it would begin to read results.

    extract.py DIRECTORY [TOOL...]      writes TOOL[.N].c, .cflags (one a line), .programs (function and program
                                        type) and says which tools gave none

Nothing of BCC is kept here: where bpfcc-tools is not installed there is nothing to extract (exit status 77).
"""

import builtins
import ctypes
import glob
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

TOOL_DIRECTORY = "/usr/sbin"
SUFFIX = "-bpfcc"
NOTHING_TO_EXTRACT = 77

# Arguments that make a tool generate a program; a tool with several rows gives several texts.
# {pid} is a process that uses libc, {self} the path of its executable.
TOOLS = [
    ("argdist", "-C 'p::vfs_read(struct file *file, char *buf, size_t count):size_t:count'"),
    ("argdist", "-H 'r:c:malloc(size_t size):u64:$latency/1000#latency'"),
    ("argdist", "-C 't:block:block_rq_complete():u32:args->nr_sector'"),
    ("argdist", "-C 'r::__vfs_read():u32:$PID:$latency>100000'"),
    ("argdist", "-p {pid} -C 'p:c:open(const char *name):char*:name'"),
    ("bashreadline", "-s /usr/bin/env"),
    ("bindsnoop", ""), ("bindsnoop", "-p 12 -P 80,81 -E"),
    ("biolatency", ""), ("biolatency", "-D"), ("biolatency", "-QF"), ("biolatency", "-F"),
    ("biolatpcts", "/dev/null"),
    ("biopattern", ""), ("biopattern", "-d vda"),
    ("biosnoop", ""), ("biosnoop", "-Q"),
    ("biotop", ""),
    ("bitesize", ""),
    ("btrfsdist", ""), ("btrfsslower", ""),
    ("cachestat", ""), ("cachetop", ""),
    ("capable", ""), ("capable", "-K -U -x --unique"),
    ("compactsnoop", ""), ("compactsnoop", "-e -K"),
    ("cpudist", ""), ("cpudist", "-O -P"), ("cpudist", "-L"), ("cpudist", "-I"),
    ("cpuunclaimed", ""),
    ("dbslower", "postgres -p {pid}"),
    ("dbstat", "mysql -p {pid}"), ("dbstat", "postgres -p {pid} -m 5"),
    ("dcsnoop", ""), ("dcsnoop", "-a"), ("dcstat", ""),
    ("deadlock", "--lock-symbols pthread_mutex_lock {pid}"),
    ("dirtop", "-d /tmp"),
    ("drsnoop", ""), ("drsnoop", "-U -d 1"),
    ("execsnoop", ""), ("execsnoop", "-x -U -u 0 -P 1"),
    ("exitsnoop", ""), ("exitsnoop", "-x --per-thread -p 1"),
    ("ext4dist", ""), ("ext4dist", "-p 1 -m"), ("ext4slower", ""), ("ext4slower", "0 -p 1"),
    ("filegone", ""), ("filelife", ""), ("fileslower", ""), ("fileslower", "-a 0"), ("filetop", ""), ("filetop", "-a -p 1"),
    ("funccount", "'vfs_*'"), ("funccount", "c:malloc -p {pid}"), ("funccount", "'t:block:*'"),
    ("funcinterval", "vfs_read"), ("funcinterval", "t:sched:sched_switch"),
    ("funclatency", "vfs_read"), ("funclatency", "-F 'vfs_*'"), ("funclatency", "-p {pid} c:read"), ("funclatency", "-u do_nanosleep"),
    ("funcslower", "vfs_read"), ("funcslower", "-UK -a 4 -u 10 c:malloc"),
    ("gethostlatency", ""),
    ("hardirqs", ""), ("hardirqs", "-C"), ("hardirqs", "-d"),
    ("inject", "kmalloc -v 'SyS_mount()'"),
    ("inject", "bio -P 0.5 'should_fail_bio(struct bio *bio)(bio->bi_opf & 1) => vfs_write()'"),
    ("killsnoop", ""), ("killsnoop", "-x -s 9 -p 1"),
    ("klockstat", ""), ("klockstat", "-c kernfs -p 1"),
    ("kvmexit", ""), ("kvmexit", "-p 1"),
    ("llcstat", ""), ("llcstat", "-t"),
    ("mdflush", ""),
    ("memleak", ""), ("memleak", "-p {pid}"), ("memleak", "-p {pid} --combined-only"), ("memleak", "--percpu"),
    ("mountsnoop", ""),
    ("mysqld_qslower", "{pid}"),
    ("netqtop", "-n lo"),
    ("nfsdist", ""), ("nfsslower", ""),
    ("offcputime", "1"), ("offcputime", "-K -p 1 1"), ("offcputime", "-f -U --state 2 1"),
    ("offwaketime", "1"), ("offwaketime", "-K 1"),
    ("oomkill", ""),
    ("opensnoop", ""), ("opensnoop", "-U -x -n foo -e -f O_WRONLY"), ("opensnoop", "-p 1 -F"), ("opensnoop", "--cgroupmap /sys/fs/bpf/x --mntnsmap /sys/fs/bpf/y"),
    ("pidpersec", ""),
    ("ppchcalls", ""),
    ("profile", "1"), ("profile", "-K -p 1 1"), ("profile", "-U -I -C 0 1"), ("profile", "-d -L 3 1"),
    ("readahead", ""),
    ("runqlat", ""), ("runqlat", "-P"), ("runqlat", "-L"), ("runqlat", "--pidnss"),
    ("runqlen", ""), ("runqlen", "-O -C"),
    ("runqslower", ""), ("runqslower", "-P -p 1"),
    ("shmsnoop", ""), ("slabratetop", ""), ("sofdsnoop", ""), ("sofdsnoop", "-p 1 -n foo"),
    ("softirqs", ""), ("softirqs", "-C"), ("softirqs", "-d"),
    ("solisten", ""), ("solisten", "-p 1 -n 5"),
    ("sslsniff", ""), ("sslsniff", "-l -p {pid}"),
    ("stackcount", "vfs_read"), ("stackcount", "-p {pid} c:malloc"), ("stackcount", "t:sched:sched_switch"),
    ("statsnoop", ""), ("statsnoop", "-p 1 -x"),
    ("syncsnoop", ""),
    ("syscount", ""), ("syscount", "-L -P"), ("syscount", "-x -p 1"), ("syscount", "-e ENOENT -L"),
    ("tcpaccept", ""), ("tcpaccept", "-P 80 -p 1"), ("tcpaccept", "-4"),
    ("tcpcong", ""), ("tcpcong", "-L 1-100 -R 80-81 -d"),
    ("tcpconnect", ""), ("tcpconnect", "-L"), ("tcpconnect", "-c -P 80 -u 0"), ("tcpconnlat", "1"),
    ("tcpdrop", ""),
    ("tcplife", ""), ("tcplife", "-D 80 -L 81 -p 1"), ("tcpretrans", ""), ("tcpretrans", "-l -s"), ("tcpretrans", "-c"),
    ("tcprtt", ""), ("tcprtt", "-b -e -p 80 -P 443 -a 127.0.0.1 -A 127.0.0.1"),
    ("tcpstates", ""), ("tcpstates", "-L 80 -D 81 -4"),
    ("tcpsubnet", ""), ("tcpsynbl", ""), ("tcptop", ""), ("tcptop", "-p 1 -4"),
    ("tcptracer", ""), ("tcptracer", "-v -p 1 -N 4026531992"),
    ("threadsnoop", ""),
    ("trace", "'do_sys_open \"%s\", arg2'"),
    ("trace", "'p::vfs_read (arg3 > 20000) \"read %d bytes\", arg3'"),
    ("trace", "'r::do_sys_open \"ret %llx\", retval' -K -U -t -T"),
    ("trace", "'c:open \"%s\", arg1' -p {pid}"),
    ("trace", "'t:block:block_rq_complete \"sectors=%d\", args->nr_sector'"),
    ("trace", "-I linux/fs.h -I net/sock.h 'vfs_fsync(struct file *file) \"%s %d\", file->f_path.dentry->d_name.name, file->f_flags'"),
    ("trace", "'p:kernel:tcp_sendmsg(struct sock *sk) \"%llx %d\", sk, sk->__sk_common.skc_num' -B"),
    ("ttysnoop", "/dev/null"),
    ("vfscount", ""), ("vfsstat", ""), ("vfsstat", "-p 1"),
    ("virtiostat", ""), ("virtiostat", "-d virtio0"),
    ("wakeuptime", "1"), ("wakeuptime", "-u 1"),
    ("xfsdist", ""), ("xfsslower", ""), ("zfsdist", ""), ("zfsslower", ""),
]


def kernel_functions(expression):
    """What available_filter_functions would list: this machine may not have it, its symbols are there."""
    pattern = re.compile(expression if isinstance(expression, str) else expression.decode())
    with open("/proc/kallsyms") as symbols:
        names = {line.split()[2] for line in symbols if line.split()[1] in "tT"}
    return {name.encode() for name in names if pattern.search(name)}


# Some tools ask /proc/kallsyms whether a file system or a feature is there; they get to generate their programs anyway.
EXTRA_SYMBOLS = [
    "btrfs_file_operations", "ext4_file_operations", "xfs_file_operations", "zpl_iter_read", "zpl_read", "zpl_write",
    "zpl_open", "zpl_fsync", "nfs4_file_open", "nfs_file_read", "nfs_file_write", "nfs_file_open", "nfs_getattr",
    "vm_zone_stat", "vm_stat", "__page_cache_alloc", "init_pid_ns", "__do_page_cache_readahead",
]


class Done(SystemExit):
    pass


def private_tracefs():
    """The tracepoints' descriptions, mounted for this process only."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_namespace, private = 0x20000, 0x44000  # CLONE_NEWNS; MS_REC | MS_PRIVATE
    if not os.path.exists("/sys/kernel/tracing/events") and libc.unshare(new_namespace) == 0:
        libc.mount(b"none", b"/", None, private, None)
        libc.mount(b"tracefs", b"/sys/kernel/tracing", b"tracefs", 0, None)
        libc.mount(b"debugfs", b"/sys/kernel/debug", b"debugfs", 0, None)


def imagine_more_symbols():
    real_open = builtins.open

    def patched(path, *arguments, **keywords):
        stream = real_open(path, *arguments, **keywords)
        if path != "/proc/kallsyms":
            return stream
        with stream:
            lines = [f"ffffffff{0x81000000 + 16 * i:08x} T {name}\n" for i, name in enumerate(EXTRA_SYMBOLS)]
            content = stream.read()
            more = "".join(lines)
            return io.BytesIO(content + more.encode()) if isinstance(content, bytes) else io.StringIO(content + more)

    builtins.open = patched


def end_here(*_):
    raise Done(0)


def run_one(tool, arguments, out):
    """In a process of its own: the tool with recording BPF objects."""
    import bcc
    import runpy

    private_tracefs()
    imagine_more_symbols()
    time.sleep = end_here
    records = []

    def text_of(value):
        return value.decode(errors="replace") if isinstance(value, bytes) else value

    class Table:
        """A table before anything was read: it takes what is put in, and ends the run when asked for results."""
        def __setitem__(self, key, value):
            pass
        def __getitem__(self, key):
            raise Done(0)
        def __getattr__(self, name):
            if name in ("Key", "Leaf"):
                return ctypes.c_uint64
            if name in ("open_perf_buffer", "open_ring_buffer", "open_perf_event", "clear", "update"):
                return lambda *a, **k: None
            raise Done(0)
        def __iter__(self):
            raise Done(0)

    class Recorder(bcc.BPF):
        def __init__(self, src_file=b"", hdr_file=b"", text=None, debug=0, cflags=[], usdt_contexts=[], *a, **k):
            if src_file:
                with open(bcc.BPF._find_file(bcc._assert_is_bytes(src_file)), "rb") as f:
                    text = f.read()
            probes = []
            for context in usdt_contexts:
                probes += [{"binary": text_of(p[0]), "function": text_of(p[1]), "address": p[2], "pid": p[3]}
                           for p in context.enumerate_active_probes()]
            wanted = [list(map(text_of, w)) for c in usdt_contexts for w in getattr(c, "skep_wanted", [])]
            self.__dict__["record"] = {
                "tool": tool, "arguments": arguments, "text": text_of(text), "cflags": list(map(text_of, cflags)),
                "programs": {function: "kprobe" for _, function in wanted}}
            self.__dict__["tables"] = {}
            records.append(self.record)

        def note(self, function, kind):
            self.record["programs"].setdefault(text_of(function), kind)

        def attach_kprobe(self, event=b"", event_off=0, fn_name=b"", event_re=b"", *a, **k):
            self.note(fn_name, "kprobe")
        def attach_kretprobe(self, event=b"", fn_name=b"", event_re=b"", maxactive=0, *a, **k):
            self.note(fn_name, "kprobe")
        def attach_uprobe(self, name=b"", sym=b"", sym_re=b"", addr=None, fn_name=b"", pid=-1, sym_off=0, *a, **k):
            self.note(fn_name, "kprobe")
        def attach_uretprobe(self, name=b"", sym=b"", sym_re=b"", addr=None, fn_name=b"", pid=-1, *a, **k):
            self.note(fn_name, "kprobe")
        def attach_tracepoint(self, tp=b"", tp_re=b"", fn_name=b""):
            self.note(fn_name, "tracepoint")
        def attach_raw_tracepoint(self, tp=b"", fn_name=b""):
            self.note(fn_name, "raw_tracepoint")
        def attach_perf_event(self, ev_type=-1, ev_config=-1, fn_name=b"", *a, **k):
            self.note(fn_name, "perf_event")
        def load_func(self, func_name, prog_type, *a, **k):
            kinds = {getattr(bcc.BPF, n): n.lower() for n in dir(bcc.BPF) if isinstance(getattr(bcc.BPF, n), int)}
            self.note(func_name, kinds.get(prog_type, str(prog_type)))
            return type("F", (), {"fd": 0, "name": func_name})()
        def get_table(self, name, *a, **k):
            return Table()
        def __getitem__(self, name):
            return Table()
        def num_open_kprobes(self):
            return 1
        def num_open_uprobes(self):
            return 1
        def num_open_tracepoints(self):
            return 1
        def cleanup(self):
            pass
        def __getattribute__(self, name):
            if name in ("perf_buffer_poll", "ring_buffer_poll", "trace_print", "trace_fields", "trace_readline"):
                raise Done(0)
            return super().__getattribute__(name)
        get_kprobe_functions = staticmethod(kernel_functions)
        ksymname = staticmethod(lambda name: 1)

    class Wanted(bcc.USDT):
        """Remembers which probes were enabled, also those that this process does not have."""
        def __init__(self, pid=None, path=None):
            self.skep_wanted = []
            try:
                super().__init__(pid=pid, path=path)
            except Exception:
                self.context = None
        def enable_probe(self, probe, fn_name):
            self.skep_wanted.append((probe, fn_name))
        enable_probe_or_bail = enable_probe
        def get_text(self):
            return b""
        def get_probe_arg_ctype(self, *a):
            return "u64"
        def enumerate_probes(self):
            return []
        def enumerate_active_probes(self):
            return []
        def __del__(self):
            pass

    import curses
    curses.wrapper = lambda body, *arguments: body(Table(), *arguments)
    subprocess.Popen.communicate = lambda *_, **__: (b"GenuineIntel", b"")  # one tool asks which processor this is
    bcc.BPF, bcc.USDT = Recorder, Wanted
    os.environ["PAGER"] = "cat"
    sys.argv = [tool] + arguments
    signal.signal(signal.SIGALRM, end_here)
    signal.alarm(20)
    failure = ""
    try:
        runpy.run_path(tool, run_name="__main__")
    except (Done, KeyboardInterrupt):
        pass
    except SystemExit as e:
        failure = f"exit {e.code}"
    except BaseException as e:
        failure = f"{type(e).__name__}: {e}"
    with open(out, "w") as f:
        json.dump({"failure": failure, "records": records}, f)
    os._exit(0)


def extract(directory, tool, arguments, taken, stand_in):
    import shlex
    path = f"{TOOL_DIRECTORY}/{tool}{SUFFIX}"
    if not os.path.exists(path):
        return "not installed"
    with open(path, "rb") as f:
        if b"python" not in f.readline():
            return "not a Python program"
    words = [w.format(pid=stand_in.pid, self=os.path.realpath(sys.executable)) for w in shlex.split(arguments)]
    out = f"{directory}/record"
    done = subprocess.run([sys.executable, __file__, "--one", path, out] + words, cwd=directory,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if not os.path.exists(out):
        return f"ended early: {done.stdout[-300:]}"
    with open(out) as f:
        result = json.load(f)
    os.unlink(out)
    for record in result["records"]:
        if not record["text"]:
            continue
        number = taken.get(tool, 0)
        taken[tool] = number + 1
        name = f"{directory}/{tool}" + (f".{number}" if number else "")
        with open(name + ".c", "w") as f:
            f.write(record.pop("text"))
        with open(name + ".cflags", "w") as f:
            f.writelines(flag + "\n" for flag in record["cflags"])
        with open(name + ".programs", "w") as f:
            f.writelines(f"{function} {kind}\n" for function, kind in record["programs"].items() if function)
    if not result["records"]:
        return f"no program: {result['failure']} {done.stdout[-300:]}"
    return ""


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if sys.argv[1] == "--one":
        return run_one(sys.argv[2], sys.argv[4:], sys.argv[3])
    try:
        import bcc  # noqa: F401
    except Exception:
        print("BCC's Python module is not installed (Debian: python3-bpfcc)")
        sys.exit(NOTHING_TO_EXTRACT)
    if not glob.glob(f"{TOOL_DIRECTORY}/*{SUFFIX}"):
        print("BCC's tools are not installed (Debian: bpfcc-tools)")
        sys.exit(NOTHING_TO_EXTRACT)
    directory = os.path.abspath(sys.argv[1])
    os.makedirs(directory, exist_ok=True)
    stand_in = subprocess.Popen([shutil.which("sleep"), "600"])
    taken, none = {}, 0
    try:
        for tool, arguments in TOOLS:
            if len(sys.argv) > 2 and tool not in sys.argv[2:]:
                continue
            said = extract(directory, tool, arguments, taken, stand_in)
            if said:
                none += 1
                print(f"{tool} {arguments}: {said}")
    finally:
        stand_in.kill()
        stand_in.wait()
    print(f"{sum(taken.values())} texts of {len(taken)} tools, {none} runs gave none")


if __name__ == "__main__":
    main()
