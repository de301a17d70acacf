"""Kernel functions seen from outside (docs/reference/user-engine-hooks.md): without root, as an ordinary user, on a command."""
import collections
import json
import os
import re
import subprocess
import textwrap

from bcc_tools import program
from common import DriverCase, demoted, main, need

PYTHON = "/usr/bin/python3"

# What the workloads share. say(): how they tell what they did, in a file, for what tools print comes in pieces.
HEAD = """
import json, os, select, socket, sys, threading, time
told = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
def say(*what): os.write(told, (json.dumps(what) + chr(10)).encode())
def server(family=socket.AF_INET, address='127.0.0.1'):
    s = socket.socket(family); s.bind((address, 0)); s.listen(64); return s
def ends(s): return s.getsockname()[:2] + s.getpeername()[:2]
"""


class Outside(DriverCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name in ("cache", "run", "work"):
            (cls.directory / f"ordinary-{name}").mkdir()
            (cls.directory / f"ordinary-{name}").chmod(0o777 if name != "run" else 0o700)
        cls.user = "nobody" if os.geteuid() == 0 else None
        if cls.user:
            import shutil
            shutil.chown(cls.directory / "ordinary-run", cls.user)
        cls.ordinary = dict(cls.environment, HOME="/nonexistent", PYTHONUNBUFFERED="1", XDG_CACHE_HOME=str(cls.directory / "ordinary-cache"),
                            XDG_RUNTIME_DIR=str(cls.directory / "ordinary-run"), TMPDIR=str(cls.directory / "ordinary-work"))

    def observed(self, driver, workload, *arguments, check=0):
        """Runs a driver on a Python workload as an ordinary user. What it printed, and what the workload said it did."""
        script = self.write("workload_%d.py" % len(list(self.directory.iterdir())), HEAD + textwrap.dedent(workload))
        told = script + ".told"
        with open(told, "w") as file:
            os.fchmod(file.fileno(), 0o666)
        result = self.skep("python", driver, *arguments, "--", PYTHON, "-I", "-S", script, told, user=self.user, env=self.ordinary,
                           check=check, cwd=self.ordinary["TMPDIR"])
        self.errors = result.stderr
        with open(told) as file:
            return result.stdout.splitlines(), [json.loads(line) for line in file]

    def tool(self, name, workload, *arguments):
        need(program(name), "this machine has no BCC (Debian package bpfcc-tools)")
        return self.observed(program(name), workload, *arguments)

    def own(self, text, workload, **options):
        """The same of a driver of this text, which prints JSON."""
        driver = self.write("own_%d.py" % len(list(self.directory.iterdir())), text)
        lines, said = self.observed(driver, workload, **options)
        return [json.loads(line) for line in lines], said


CONNECTIONS = """
say('pid', os.getpid())
for family, address in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1')):
    s = server(family, address)
    for i in range(3):
        c = socket.socket(family); c.connect(s.getsockname()[:2]); a, _ = s.accept()
        say('made', *ends(c))
        c.close(); a.close()
    s.close()
mapped = server(); c = socket.socket(socket.AF_INET6); c.connect(('::ffff:127.0.0.1', mapped.getsockname()[1])); a, _ = mapped.accept()
say('made', *ends(a)[2:], *ends(a)[:2])
refused = socket.socket()
r = refused.connect_ex(('127.0.0.1', 1)); say('refused', r)
c.close(); a.close(); refused.close()
n = socket.socket(); n.setblocking(False); n.connect_ex(mapped.getsockname())
select.select([], [n], []); n.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR); say('made', *ends(n))
b, _ = mapped.accept()
late = socket.socket(); late.setblocking(False); late.connect_ex(mapped.getsockname())
d, _ = mapped.accept(); say('made', *ends(late))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.connect(('127.0.0.1', 9)); u.close()
x, y = socket.socketpair(); x.close(); y.close()
"""


class Tools(Outside):
    def test_tcpconnect(self):
        lines, said = self.tool("tcpconnect", CONNECTIONS, "-L")
        pid = said[0][1]
        seen = collections.Counter()
        for line in lines[2:]:
            words = line.split()
            self.assertEqual((int(words[0]), words[1]), (pid, "python3"))
            seen[words[3], int(words[4]), words[5], int(words[6])] += 1
        made = collections.Counter(tuple(one[1:]) for one in said if one[0] == "made")
        (refused,) = (seen - made).elements()
        self.assertEqual((refused[0], *refused[2:]), ("127.0.0.1", "127.0.0.1", 1))
        self.assertFalse(made - seen)
        self.assertIn("sys_exit(connect) (approximate", self.errors)

    def test_tcpconnect_counts(self):
        lines, said = self.tool("tcpconnect", "s = server()\nfor i in range(40): c = socket.create_connection(s.getsockname()); s.accept()\n"
                                "say(s.getsockname()[1])\ntime.sleep(3)", "-c")
        self.assertIn(["127.0.0.1", "127.0.0.1", str(said[0][0]), "40"], [line.split() for line in lines])

    def test_tcpaccept(self):
        lines, said = self.tool("tcpaccept", CONNECTIONS + """
s = server(); s.setblocking(False)
try: s.accept()
except BlockingIOError: pass
l = server(); c = socket.create_connection(l.getsockname()); here = c.getsockname(); say('made', *ends(c))
c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\\1\\0\\0\\0\\0\\0\\0\\0'); c.close(); time.sleep(0.1)
g, peer = l.accept()  # it has been reset by then
""")
        seen = collections.Counter()
        for line in lines[1:]:
            _, _, _, peer, peer_port, here, port = line.split()
            seen[peer, int(peer_port), here, int(port)] += 1
        self.assertEqual(seen, collections.Counter(tuple(one[1:]) for one in said if one[0] == "made"))

    def test_tcptracer(self):
        lines, said = self.tool("tcptracer", CONNECTIONS, "-v")
        pid = said[0][1]
        netns = os.stat("/proc/self/ns/net").st_ino
        seen = collections.defaultdict(collections.Counter)
        for line in lines[2:]:
            words = line.replace("[", "").replace("]", "").split()
            self.assertEqual((int(words[1]), words[2], int(words[8])), (pid, "python3", netns))
            seen[words[0]][words[4].replace("::ffff:", ""), int(words[6]), words[5].replace("::ffff:", ""), int(words[7])] += 1
        made = collections.Counter(tuple(one[1:]) for one in said if one[0] == "made")
        closed = made + collections.Counter((peer, peer_port, here, port) for here, port, peer, peer_port in made)
        # BCC's tool looks up connections of IPv4 from IPv6 sockets under the other family: it never shows them.
        mapped = [one for one in (made - seen["connect"])]
        self.assertEqual(len(mapped), 1)
        self.assertFalse(seen["connect"] - made)
        self.assertEqual(seen["accept"], collections.Counter((peer, peer_port, here, port) for here, port, peer, peer_port in made))
        self.assertEqual(seen["close"], closed)

    def test_a_connection_ends_with_its_last_holder(self):
        """Copies of the descriptor: by fork, dup, dup2, in another process by SCM_RIGHTS."""
        lines, said = self.tool("tcptracer", """
            s = server()
            def pair(): c = socket.create_connection(s.getsockname()); a, _ = s.accept(); a.detach(); return c
            forked = pair(); here = forked.getsockname()[1]
            child = os.fork()
            if child == 0:
                time.sleep(0.3); os._exit(0)
            forked.close(); os.waitpid(child, 0); say('forked', here, child)
            copied = pair(); here = copied.getsockname()[1]; other = os.dup(copied.fileno()); copied.close(); time.sleep(0.1)
            say('copied', here, os.getpid()); os.close(other)
            over = pair(); null = os.open('/dev/null', os.O_RDONLY); say('over', over.getsockname()[1], os.getpid()); os.dup2(null, over.fileno())
            left, right = socket.socketpair()
            child = os.fork()
            if child == 0:
                left.close(); got = socket.recv_fds(right, 1, 1); time.sleep(0.3); os.close(got[1][0]); os._exit(0)
            given = pair(); here = given.getsockname()[1]
            socket.send_fds(left, [b'x'], [given.fileno()]); given.close(); os.waitpid(child, 0); say('given', here, child)
            killed = pair()  # made before the fork: the child has it too
            child = os.fork()
            if child == 0:
                own = socket.create_connection(s.getsockname()); say('killed', own.getsockname()[1], os.getpid()); time.sleep(20)
            time.sleep(0.5); os.kill(child, 9); os.waitpid(child, 0)
            say('last', killed.getsockname()[1], os.getpid())
            """)
        ends = [(int(line.split()[1]), int(line.split()[6])) for line in lines if line.startswith("X")]
        for what, port, pid in said:
            with self.subTest(what):
                self.assertEqual([one for one in ends if one[1] == port], [(pid, port)])

    def test_another_network_namespace(self):
        """Of the tree alone: its holders are looked up in its own table."""
        need(program("tcptracer"), "this machine has no BCC (Debian package bpfcc-tools)")
        own = ["unshare", "-rn", "true"]
        need(subprocess.run(own, **demoted("nobody") if self.user else {}, capture_output=True).returncode == 0,
             "ordinary users may not make namespaces here (unshare -rn)")
        script = self.write("namespace.py", HEAD.replace("sys.argv[1]", repr(os.devnull)) + textwrap.dedent("""
            s = server(); c = socket.create_connection(s.getsockname()); a, _ = s.accept(); os.dup(c.fileno()); os.close(c.detach())
            print(os.stat('/proc/self/ns/net').st_ino, *ends(a)[::-1], flush=True)
            """))
        result = self.skep("python", program("tcptracer"), "-v", "--", "unshare", "-rn", "sh", "-c", "ip link set lo up; exec %s %s" % (PYTHON, script),
                           user=self.user, env=self.ordinary, check=0)
        rows = [line.split() for line in result.stdout.splitlines()]
        (told,) = [row for row in rows if row and row[0].isdigit()]
        seen = {(row[0], row[6], row[8]) for row in rows if row and row[0] in ("connect", "accept", "close")}
        inside, client, _, port, _ = told
        self.assertEqual(seen, {("connect", client, inside), ("accept", port, inside), ("close", client, inside), ("close", port, inside)})
        self.assertEqual(len([row for row in rows if row and row[0] == "close" and row[6] == client]), 1, "a copy was left")

    def test_many_threads_connect(self):
        lines, said = self.tool("tcptracer", """
            s = server(); made = []
            def accept():
                for i in range(160): s.accept()[0].close()
            def connect():
                for i in range(20):
                    c = socket.socket(); c.connect(s.getsockname()); made.append(c.getsockname()[1]); c.close()
            threads = [threading.Thread(target=connect) for i in range(8)] + [threading.Thread(target=accept)]
            for t in threads: t.start()
            for t in threads: t.join()
            say(s.getsockname()[1], *made)
            """)
        port, *made = said[0]
        ours = [line.split() for line in lines if line.split()[-2:].count(str(port))]
        self.assertEqual(sorted(int(words[6]) for words in ours if words[0] == "C"), sorted(made))
        self.assertEqual(sorted(int(words[7]) for words in ours if words[0] == "A"), sorted(made))
        closed = [words for words in ours if words[0] == "X"]
        self.assertEqual(len(closed), 320)

    def test_filelife(self):
        lines, said = self.tool("filelife", r"""
            def make(name, flags=0, **at): os.close(os.open(name, os.O_CREAT | os.O_WRONLY | flags, **at))
            say('pid', os.getpid())
            make('plain'); time.sleep(0.3); os.unlink('plain')
            make('old'); os.rename('old', 'renamed'); os.unlink('renamed')
            make('first'); os.link('first', 'second'); os.unlink('first'); os.unlink('second')
            make('name with\nnewline', os.O_EXCL); os.unlink('name with\nnewline')
            os.mkdir('d'); os.chdir('d'); make('up'); os.chdir('..'); os.unlink('d/up'); os.unlink
            d = os.open('d', os.O_RDONLY); make('at', dir_fd=d); os.unlink('at', dir_fd=d); os.close(d); os.rmdir('d')
            os.symlink('behind', 'link'); make('link'); os.unlink('behind'); os.unlink('link')
            os.mknod('node', 0o600); os.unlink('node')
            make(os.path.abspath('absolute')); os.unlink(os.path.abspath('absolute'))
            f = os.open('open', os.O_CREAT | os.O_RDWR); os.unlink('open'); os.close(f)
            make('kept'); make('kept'); os.rename('kept', 'kept2'); os.rename('kept2', 'kept'); os.unlink('kept')
            os.mkfifo('pipe'); os.unlink('pipe')
            for wrong in ('nothing', 'plain', '/'):
                try: os.unlink(wrong)
                except OSError: pass
            t = os.open('.', os.O_TMPFILE | os.O_RDWR); os.close(t)
            child = os.fork()
            if child == 0:
                make('of the child'); os._exit(0)
            os.waitpid(child, 0); os.unlink('of the child')
            names = ['many%d' % i for i in range(2000)]
            for name in names: make(name)
            for name in names: os.unlink(name)
            """)
        pid = said[0][1]
        text = "\n".join(lines)
        found = re.findall(r"(?m)^\d\d:\d\d:\d\d +(\d+) +python3 +(\d+\.\d+) +((?:.|\n(?!\d\d:))*)", text)
        self.assertEqual({int(one[0]) for one in found}, {pid})
        names = [one[2].strip() for one in found]
        self.assertEqual([name for name in names if not name.startswith("many")],
                         ["plain", "renamed", "first", "name with\nnewline", "up", "at", "behind", "node", "absolute", "open", "kept", "of the child"])
        self.assertEqual([name for name in names if name.startswith("many")], ["many%d" % i for i in range(2000)])
        self.assertTrue(0.25 < float(found[0][1]) < 3, found[0])

    def test_vfsstat(self):
        """The same workload with and without a hundred calls of each kind."""
        work = """
            f = os.open('file', os.O_CREAT | os.O_RDWR)
            bad = os.dup(f); os.close(bad)
            for i in range(%d):
                os.write(f, b'x'); os.pwrite(f, b'y', 0)
                os.pread(f, 1, 0); os.read(f, 1); os.lseek(f, 0, 0)
                os.fsync(f); os.close(os.open('file', os.O_RDONLY)); os.mknod('n%%d' %% i, 0o600)
                for call in (lambda: os.read(bad, 1), lambda: os.write(bad, b'x'), lambda: os.open('nothing', os.O_RDONLY), lambda: os.mknod('n%%d' %% i)):
                    try: call()
                    except OSError: pass
                os.unlink('n%%d' %% i)
            """
        counts = []
        for times in (0, 600):
            lines, _ = self.tool("vfsstat", work % times, "60")
            counts.append([int(word) for word in lines[-1].split()[1:]])
        # The tool divides by its interval.
        self.assertEqual([after - before for before, after in zip(*counts)], [20, 20, 10, 10, 10])


COUNTING = r"""
from bcc import BPF
b = BPF(text='''
%s
''')
%s
try:
    while True: b.perf_buffer_poll()
except KeyboardInterrupt:
    pass
%s
"""


class Drivers(Outside):
    def test_counts_of_calls(self):
        """Each call once, none that the function would not be called by."""
        printed, _ = self.own(COUNTING % (
            "BPF_ARRAY(counts, u64, 16);\n" + "\n".join("int f%d(void *ctx) { counts.atomic_increment(%d); return 0; }" % (i, i) for i in range(12)),
            "\n".join("b.attach_k%sprobe(event='%s', fn_name='f%d')" % (kind, name, i) for i, (kind, name) in enumerate(
                [("", "vfs_read"), ("ret", "vfs_read"), ("", "vfs_write"), ("ret", "vfs_write"), ("", "vfs_fsync"), ("", "vfs_fsync_range"),
                 ("", "vfs_open"), ("", "vfs_create"), ("", "security_inode_create"), ("", "vfs_unlink"), ("", "vfs_mkdir"), ("", "vfs_rmdir")])),
            "import json; print(json.dumps([one.value for one in b['counts'].values()][:12]))"), """
            f = os.open('counted', os.O_CREAT | os.O_RDWR)
            for i in range(100):
                os.write(f, b'x'); os.pwrite(f, b'y', 0)
                os.pread(f, 1, 0); os.read(f, 1); os.lseek(f, 0, 0)
                os.fsync(f); os.fdatasync(f); os.close(os.open('counted', os.O_RDONLY)); os.mknod('n%d' % i, 0o600)
                for call in (lambda: os.read(999, 1), lambda: os.write(999, b'x'), lambda: os.fsync(999), lambda: os.open('nothing', os.O_RDONLY),
                             lambda: os.mknod('n%d' % i), lambda: os.unlink('nothing'), lambda: os.mkdir('n%d' % i), lambda: os.rmdir('nothing')):
                    try: call()
                    except OSError: pass
                os.unlink('n%d' % i); os.mkdir('d%d' % i); os.rmdir('d%d' % i)
            os.unlink('counted')
            """)
        (counts,) = printed
        read, read_return, write, write_return, fsync, fsync_range, opened, create, inode_create, unlink, mkdir, rmdir = counts
        self.assertEqual((read, write), (read_return, write_return))
        self.assertTrue(200 <= read <= 300 and 200 <= write <= 210, counts)  # and what the interpreter itself reads
        self.assertEqual((fsync, fsync_range, create, inode_create, unlink, mkdir, rmdir), (200, 200, 100, 101, 101, 100, 100))
        self.assertTrue(101 <= opened <= 250, counts)

    def test_descriptors_are_ints(self):
        """The kernel takes the lower half of the register."""
        printed, _ = self.own(COUNTING % (
            "BPF_ARRAY(counts, u64, 2);\nint f(void *ctx) { counts.atomic_increment(0); return 0; }", "b.attach_kprobe(event='vfs_fsync', fn_name='f')",
            "import json; print(json.dumps(b['counts'][0].value))"), """
            import ctypes
            libc = ctypes.CDLL(None, use_errno=True)
            f = os.open('whole', os.O_CREAT | os.O_RDWR)
            for i in range(5): assert libc.syscall(ctypes.c_long(74), ctypes.c_ulong(7 << 32 | f)) == 0
            assert libc.syscall(ctypes.c_long(74), ctypes.c_ulong(7 << 32 | 999)) == -1
            """)
        self.assertEqual(printed, [5])

    def test_addresses_that_the_kernel_does_not_take(self):
        """Too long, too short, not there: it does not come to the protocol's function."""
        printed, _ = self.own(COUNTING % (
            "BPF_ARRAY(counts, u64, 2);\nint f(void *ctx) { counts.atomic_increment(0); return 0; }", "b.attach_kprobe(event='tcp_v4_connect', fn_name='f')",
            "import json; print(json.dumps(b['counts'][0].value))"), """
            import ctypes
            libc = ctypes.CDLL(None, use_errno=True)
            s = server()
            address = bytes([2, 0]) + s.getsockname()[1].to_bytes(2, 'big') + bytes([127, 0, 0, 1]) + bytes(300)
            c = socket.socket()
            for length in (129, 300, -1, 1, 0): assert libc.connect(c.fileno(), address, length) == -1, length
            assert libc.connect(c.fileno(), ctypes.c_void_p(8), 16) == -1
            assert libc.connect(c.fileno(), address, 128) == 0
            """)
        self.assertEqual(printed, [1])

    def test_each_socket_is_closed_once(self):
        """Sockets that were never connected, calls that close nothing, listeners at one port, copies in a process that ends."""
        printed, said = self.own(COUNTING % ("""
#include <net/sock.h>
BPF_HASH(ports, u16, u64);
int f(struct pt_regs *ctx, struct sock *sk) { u16 port = sk->__sk_common.skc_num; ports.increment(port); return 0; }
""", "b.attach_kprobe(event='tcp_close', fn_name='f')", "import json; print(json.dumps([[k.value, v.value] for k, v in b['ports'].items()]))"), """
            import ctypes
            libc = ctypes.CDLL(None, use_errno=True)
            null = os.open('/dev/null', os.O_RDONLY)
            bound = socket.socket(); bound.bind(('127.0.0.1', 0)); say(bound.getsockname()[1], 1)
            assert libc.dup3(null, bound.fileno(), 1) == -1 and libc.dup3(999, bound.fileno(), 0) == -1
            bound.close()
            many = [socket.socket() for i in range(8)]
            for s in many:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                s.bind(many[0].getsockname() if s is not many[0] else ('127.0.0.1', 0)); s.listen()
            for s in many: os.close(os.dup(s.fileno()))
            say(many[0].getsockname()[1], 8)
            for s in many: s.close()
            s = server(); c = socket.create_connection(s.getsockname()); os.dup(c.fileno()); os.dup(c.fileno()); say(c.getsockname()[1], 1)
            say(s.getsockname()[1], 1); sys.stdout.flush(); os._exit(0)
            """)
        self.assertEqual(sorted(printed[0]), sorted(said))

    PAIRS = COUNTING % ("""
#include <linux/fs.h>
struct note { struct file *file; u64 bytes; };
struct record { u64 pid_tgid; struct file *file; u64 inode; u64 bytes; s64 result; u32 mode, f_mode, name_length; u8 same; char name[32]; };
BPF_HASH(notes, u64, struct note);
BPF_PERF_OUTPUT(events);
int begin(struct pt_regs *ctx, struct file *file, char *buffer, size_t count) {
    u64 id = bpf_get_current_pid_tgid();
    struct note note = {file, count};
    notes.update(&id, &note);
    return 0;
}
int end(struct pt_regs *ctx) {
    u64 id = bpf_get_current_pid_tgid();
    struct note *note = notes.lookup(&id);
    if (!note) return 0;
    struct file *file = note->file;
    struct record r = {.pid_tgid = id, .file = file, .bytes = note->bytes, .result = PT_REGS_RC(ctx)};
    r.inode = file->f_inode->i_ino; r.mode = file->f_inode->i_mode; r.f_mode = file->f_mode;
    struct dentry *dentry = file->f_path.dentry;
    struct qstr name = dentry->d_name;
    r.name_length = name.len;
    r.same = dentry->d_inode->i_ino == r.inode;
    bpf_probe_read_kernel(&r.name, sizeof(r.name), name.name);
    notes.delete(&id);
    events.perf_submit(ctx, &r, sizeof(r));
    return 0;
}
""", """
b.attach_kprobe(event='vfs_read', fn_name='begin'); b.attach_kretprobe(event='vfs_read', fn_name='end')
import json
def show(cpu, data, size):
    r = b['events'].event(data)
    print(json.dumps([r.pid_tgid >> 32, r.pid_tgid & 0xffffffff, r.file, r.inode, r.bytes, r.result, r.mode, r.f_mode, r.name_length, r.same, r.name.decode()]))
b['events'].open_perf_buffer(show, page_cnt=512)
""", "")

    def test_entry_and_return_are_of_one_call(self):
        """Eight threads, each with a file of its own, at the same time; one of them deleted, one renamed meanwhile."""
        printed, ((_, pid, inodes),) = self.own(self.PAIRS, """
            files = []
            for i in range(8):
                name = 'thread%d' % i
                with open(name, 'w') as f: f.write('x' * (10 + i))
                files.append(os.open(name, os.O_RDONLY))
            os.unlink('thread6'); os.rename('thread7', 'other7')
            say('pid', os.getpid(), [os.fstat(f).st_ino for f in files])
            def work(i):
                for turn in range(30):
                    os.pread(files[i], 4000 + i, 0)
            threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
            for t in threads: t.start()
            for t in threads: t.join()
            """)
        seen = [one for one in printed if one[0] == pid and 4000 <= one[4] < 4008]
        self.assertEqual(len(seen), 240)
        for i in range(8):
            own = [one for one in seen if one[4] == 4000 + i]
            self.assertEqual(len(own), 30)
            self.assertEqual(len({one[1] for one in own}), 1, "one thread")
            self.assertEqual(len({one[2] for one in own}), 1, "one file, at one address")
            name = "other7" if i == 7 else "thread%d" % i
            self.assertEqual({tuple(one[3:]) for one in own}, {(inodes[i], 4000 + i, 10 + i, 0o100644, 1, len(name), 1, name)})

    def test_programs_that_are_called_in_its_place_get_all_parameters(self):
        source = """
#include <net/sock.h>
BPF_PROG_ARRAY(jump, 2);
BPF_HASH(ports, u16, u64);
int first(struct pt_regs *ctx) { jump.call(ctx, 1); return 0; }
int second(struct pt_regs *ctx, struct sock *sk) {
    u16 port = sk->__sk_common.skc_num;
    ports.increment(port);
    return 0;
}"""
        attach = "b['jump'][1] = b.load_func('second', BPF.KPROBE)\nb.attach_kprobe(event='tcp_close', fn_name='first')"
        printed, ((port,),) = self.own(COUNTING % (source, attach, "import json; print(json.dumps([[k.value, v.value] for k, v in b['ports'].items()]))"),
                                       "s = server(); say(s.getsockname()[1]); s.close()")
        self.assertEqual(printed, [[[port, 1]]])
        self.assertIn("may read any parameter", self.refusal(source, attach.replace("tcp_close", "vfs_read")))

    def test_a_running_process(self):
        """With -p: what it does from then on."""
        going = self.directory / "ordinary-work" / "going"
        script = self.write("running.py", HEAD.replace("sys.argv[1]", repr(os.devnull)) + textwrap.dedent("""
            for i in range(400):
                if os.path.exists(sys.argv[1]): break
                time.sleep(0.05)
            time.sleep(0.5)  # until it is attached to
            for i in range(50): os.mkdir('%s.%d' % (sys.argv[1], i)); os.rmdir('%s.%d' % (sys.argv[1], i))
            """))
        process = subprocess.Popen([PYTHON, "-I", "-S", script, str(going)], **demoted("nobody") if self.user else {})
        self.addCleanup(process.kill)
        driver = self.write("running_driver.py", COUNTING % (
            "BPF_ARRAY(counts, u64, 2);\nint made(void *ctx) { counts.atomic_increment(0); return 0; }\n"
            "int gone(struct pt_regs *ctx, struct inode *dir, struct dentry *dentry) { if (dentry->d_name.len) counts.atomic_increment(1); return 0; }",
            "b.attach_kprobe(event='vfs_mkdir', fn_name='made'); b.attach_kprobe(event='vfs_rmdir', fn_name='gone')\n"
            "import threading, time\nthreading.Timer(1.0, lambda: open(%r, 'w').close()).start()" % str(going),
            "print([one.value for one in b['counts'].values()])"))
        result = self.skep("python", "-p", str(process.pid), driver, user=self.user, env=self.ordinary)
        process.wait()
        self.assertIn("[50, 50]", result.stdout, result.stderr)

    def refusal(self, source, attach):
        """What skep says instead of running it."""
        self.own(COUNTING % (source, attach, ""), "say('never')", check=1)
        self.assertNotIn("never", self.errors)
        return self.errors

    def test_what_is_not_known_is_refused_by_name(self):
        one = "int f(struct pt_regs *ctx, struct file *file, char *buffer, size_t count, loff_t *at) { u64 x = (u64)at; bpf_trace_printk(\"%lx\", x); return 0; }"
        self.assertIn("reads parameter 4, which is not known at sys_enter(read, pread64)", self.refusal(one, "b.attach_kprobe(event='vfs_read', fn_name='f')"))
        other = "int f(struct pt_regs *ctx, struct inode *dir, struct dentry *dentry) { u64 x = (u64)dir; bpf_trace_printk(\"%lx\", x); return 0; }"
        self.assertIn("the parameters that the program declares are not those", self.refusal(other, "b.attach_kprobe(event='vfs_rename', fn_name='f')"))
        field = "#include <net/sock.h>\nint f(struct pt_regs *ctx, struct sock *sk) { u64 x = sk->sk_sndbuf; bpf_trace_printk(\"%lx\", x); return 0; }"
        self.assertIn("sk_sndbuf", self.refusal(field, "b.attach_kprobe(event='tcp_close', fn_name='f')"))
        plain = "int f(void *ctx) { return 0; }"
        self.assertIn("tcp_rcv_established", self.refusal(plain, "b.attach_kprobe(event='tcp_rcv_established', fn_name='f')"))
        self.assertIn("--backend kernel", self.refusal(plain, "b.attach_kretprobe(event='vfs_unlink', fn_name='f')"))
        self.assertIn("inside of a function", self.refusal(plain, "b.attach_kprobe(event='vfs_read', event_off=4, fn_name='f')"))

    def test_parameters_are_those_that_the_handler_declares(self):
        source = """
#include <linux/fs.h>
BPF_PERF_OUTPUT(events);
struct record { u64 directory, inode; char name[32]; };
int f(struct pt_regs *ctx, struct inode *dir, struct dentry *dentry) {
    struct record r = {.directory = dir->i_ino, .inode = dentry->d_inode->i_ino};
    struct qstr name = dentry->d_name;
    bpf_probe_read_kernel(&r.name, sizeof(r.name), name.name);
    events.perf_submit(ctx, &r, sizeof(r));
    return 0;
}"""
        attach = """
b.attach_kprobe(event='vfs_unlink', fn_name='f')
import json
def show(cpu, data, size):
    r = b['events'].event(data)
    print(json.dumps([r.directory, r.inode, r.name.decode()]))
b['events'].open_perf_buffer(show)
"""
        printed, said = self.own(COUNTING % (source, attach, ""), """
            with open('known', 'w') as f: say(os.stat('.').st_ino, os.fstat(f.fileno()).st_ino, 'known')
            os.unlink('known')
            """)
        self.assertEqual(printed, said)


if __name__ == "__main__":
    main()
