"""Tasks as structures: what programs read of task_struct in the user engine is what /proc says, and what the kernel has."""
import os
import re
import shutil
import unittest

from support import TRACE_LINE, Case, can_use_kernel_bpf, main, need, need_clang

HEAD = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
char LICENSE[] SEC("license") = "GPL";
static int ours(void) {
  char comm[16];
  bpf_get_current_comm(comm, sizeof(comm));
  return comm[0] == 's' && comm[1] == 'k' && comm[2] == '_';
}
"""
READS = HEAD + """
/* The ways to get at a field: a typed program's loads, and reads of every kind. */
SEC("tp_btf/sched_process_exec") int BPF_PROG(typed, struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm) {
  char name[32];
  struct task_struct *now = bpf_get_current_task_btf();
  if (!ours()) return 0;
  bpf_probe_read_kernel_str(name, sizeof(name), bprm->filename);
  bpf_printk("typed %s pid %d tgid %d", name, p->pid == (int)bpf_get_current_pid_tgid(), p->tgid == p->group_leader->pid);
  bpf_printk("same %d comm %s old %d", now->pid == p->pid, p->comm, old_pid == p->pid);
  bpf_printk("parent %d uid %d euid %d", p->real_parent->tgid == p->parent->tgid, p->cred->uid.val, p->real_cred->euid.val);
  bpf_printk("caps %llx mnt %u net %u", p->cred->cap_effective.val, p->nsproxy->mnt_ns, p->nsproxy->net_ns->ns.inum);
  return 0;
}
SEC("raw_tracepoint/sched_process_exit") int raw(struct bpf_raw_tracepoint_args *ctx) {
  struct task_struct *p = (void *)ctx->args[0];
  char comm[16];
  if (!ours()) return 0;
  BPF_CORE_READ_STR_INTO(&comm, p, comm);
  bpf_printk("raw %s code %d prio %d", comm, BPF_CORE_READ(p, exit_code), BPF_CORE_READ(p, prio));
  bpf_printk("live %d status %d kthread %d", BPF_CORE_READ(p, signal, live.counter), BPF_CORE_READ(p, thread_info.status), (BPF_CORE_READ(p, flags) & 0x200000) != 0);
  bpf_printk("mm %d args %d", BPF_CORE_READ(p, mm) != 0, (int)(BPF_CORE_READ(p, mm, arg_end) - BPF_CORE_READ(p, mm, arg_start)));
  return 0;
}
SEC("tp_btf/sched_process_fork") int BPF_PROG(forked, struct task_struct *parent, struct task_struct *child) {
  if (!ours()) return 0;
  bpf_printk("fork own %d child %d thread %d", parent->pid == (int)bpf_get_current_pid_tgid(), child->real_parent->tgid == parent->tgid, child->tgid == parent->tgid);
  return 0;
}
SEC("tp_btf/signal_generate") int BPF_PROG(sent, int sig, struct kernel_siginfo *info, struct task_struct *to, int group, int result) {
  if (!ours() || sig == 17 || (long)info < 3 && (long)info >= 0) return 0;
  bpf_printk("sent %d to %s", sig, to->comm);
  return 0;
}
"""
NUMBERS = HEAD + """
SEC("tracepoint/syscalls/sys_enter_getppid") int on_call(void *ctx) {
  struct task_struct *p = (void *)bpf_get_current_task();
  bpf_printk("ids %d %d", BPF_CORE_READ(p, pid), BPF_CORE_READ(p, tgid));
  bpf_printk("parents %d %d %d", BPF_CORE_READ(p, real_parent, tgid), BPF_CORE_READ(p, parent, pid), BPF_CORE_READ(p, real_parent, real_parent, tgid));
  bpf_printk("start %llu threads %d", BPF_CORE_READ(p, start_boottime), BPF_CORE_READ(p, signal, nr_threads));
  bpf_printk("uid %d gid %d fsuid %d", BPF_CORE_READ(p, cred, uid.val), BPF_CORE_READ(p, cred, gid.val), BPF_CORE_READ(p, cred, fsuid.val));
  bpf_printk("ns1 %u %u %u", BPF_CORE_READ(p, nsproxy, uts_ns, ns.inum), BPF_CORE_READ(p, nsproxy, ipc_ns, ns.inum), BPF_CORE_READ(p, nsproxy, mnt_ns));
  bpf_printk("ns2 %u %u %u", BPF_CORE_READ(p, nsproxy, pid_ns_for_children, ns.inum), BPF_CORE_READ(p, nsproxy, net_ns, ns.inum), BPF_CORE_READ(p, nsproxy, cgroup_ns, ns.inum));
  bpf_printk("args %llu %llu %llu", BPF_CORE_READ(p, mm, arg_start), BPF_CORE_READ(p, mm, arg_end), BPF_CORE_READ(p, mm, env_start));
  return 0;
}
"""
SOCKETS = HEAD + """
SEC("tracepoint/syscalls/sys_exit_connect") int on_connect(void *ctx) {
  struct task_struct *task = (void *)bpf_get_current_task();
  char comm[16];
  bpf_get_current_comm(comm, sizeof(comm));
  const char name[] = "NAME";
  for (unsigned i = 0; i < sizeof(name); i++)
    if (comm[i] != name[i]) return 0;
  struct file **files = BPF_CORE_READ(task, files, fdt, fd);
  bpf_printk("room %d open %d", BPF_CORE_READ(task, files, fdt, max_fds) > 32, 0);
  for (int i = 3; i < 12; i++) {
    struct file *file = 0;
    bpf_probe_read_kernel(&file, sizeof(file), files + i);
    if (!file) { bpf_printk("closed %d", i); continue; }
    int kind = BPF_CORE_READ(file, f_inode, i_mode) & 0170000;
    if (kind != 0140000) { bpf_printk("file %d mode %x", i, kind); continue; }
    struct sock *sk = BPF_CORE_READ((struct socket *)BPF_CORE_READ(file, private_data), sk);
    bpf_printk("socket %d family %d type %d", i, BPF_CORE_READ(sk, __sk_common.skc_family), BPF_CORE_READ(sk, sk_type));
    if (BPF_CORE_READ(sk, __sk_common.skc_family) == 1) continue;
    bpf_printk("protocol %d state %d net %d", BPF_CORE_READ(sk, sk_protocol), sk_state(sk), BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum) == BPF_CORE_READ(task, nsproxy, net_ns, ns.inum));
    bpf_printk("ports %d %d", BPF_CORE_READ(sk, __sk_common.skc_num), __builtin_bswap16(BPF_CORE_READ(sk, __sk_common.skc_dport)));
    bpf_printk("four %x %x", __builtin_bswap32(BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr)), __builtin_bswap32(BPF_CORE_READ(sk, __sk_common.skc_daddr)));
    if (BPF_CORE_READ(sk, __sk_common.skc_family) == 10)
      bpf_printk("six %x %x", __builtin_bswap32(BPF_CORE_READ(sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32[3])), __builtin_bswap32(BPF_CORE_READ(sk, __sk_common.skc_v6_daddr.in6_u.u6_addr32[3])));
    bpf_printk("reuse %d %d only %d", BPF_CORE_READ_BITFIELD_PROBED(sk, __sk_common.skc_reuse) != 0, BPF_CORE_READ_BITFIELD_PROBED(sk, __sk_common.skc_reuseport), BPF_CORE_READ_BITFIELD_PROBED(sk, __sk_common.skc_ipv6only));
    bpf_printk("flags %lx device %d", BPF_CORE_READ((struct inet_sock *)sk, inet_flags) & 0x48800, BPF_CORE_READ(sk, __sk_common.skc_bound_dev_if));
  }
  return 0;
}
""".replace("sk_state(sk)", "BPF_CORE_READ(sk, sk_protocol) == 6 ? BPF_CORE_READ(sk, __sk_common.skc_state) : 0")
# Of every kind one, at descriptors 3 and up; then the call that the program waits for.
CONNECT = """
import os, socket, sys
server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen(1)
six = socket.socket(socket.AF_INET6); six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1); six.bind(("::1", 0)); six.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
local = socket.socket(socket.AF_UNIX)
datagrams = socket.socket(type=socket.SOCK_DGRAM); datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
datagrams.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND
client = socket.socket()
file, _ = open("/dev/null"), open("/etc/passwd").close()
assert [one.fileno() for one in (server, six, local, datagrams, client, file)] == [3, 4, 5, 6, 7, 8]
client.connect(server.getsockname())
print("ends", client.getsockname()[1], server.getsockname()[1], six.getsockname()[1])
"""
HOST = HEAD + """
SEC("tp_btf/sched_process_exec") int BPF_PROG(typed, struct task_struct *p) {
  struct new_utsname name;
  struct uts_namespace *uts = p->nsproxy->uts_ns;
  if (!ours()) return 0;
  bpf_printk("loads %s in %u", uts->name.nodename, uts->ns.inum != 0);
  BPF_CORE_READ_INTO(&name, p, nsproxy, uts_ns, name);
  bpf_printk("read %s %s %s", name.sysname, name.nodename, name.machine);
  return 0;
}
"""
ANCESTORS = HEAD + """
SEC("tp_btf/sched_process_exec") int BPF_PROG(climb, struct task_struct *p) {
  int depth = 0;
  struct task_struct *at = p;
  for (int i = 0; i < 40 && at->pid > 1; i++) {
    at = at->real_parent;
    depth++;
  }
  /* Nothing is there: loads give zeroes, they never fault. */
  struct task_struct *nowhere = at->real_parent->real_parent->real_parent->real_parent;
  bpf_printk("depth %d nowhere %d", depth, nowhere->real_parent->pid);
  return 0;
}
"""
# What the traced process says of itself.
WITNESS = """
import ctypes, os
def link(name): return os.readlink(f"/proc/self/ns/{name}").split("[")[1][:-1]
stat = open("/proc/self/stat").read().rsplit(")", 1)[1].split()
parent = os.getppid()
grand = open(f"/proc/{parent}/stat").read().rsplit(")", 1)[1].split()[1]
def say(*words): os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # a line is one write: skep writes, too
say("ids", os.getpid(), os.getpid())
say("parents", parent, parent, grand)
say("start", int(stat[19]) * (10**9 // os.sysconf("SC_CLK_TCK")), "threads", stat[17])
say("uid", os.getuid(), "gid", os.getgid(), "fsuid", os.geteuid())
say("ns2", link("pid_for_children"), link("net"), link("cgroup"))
say("args", *stat[45:48])
"""


class Task(Case):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        need_clang()
        super().setUpClass()
        for name, original in (("sk_shell", "/bin/dash"), ("sk_true", "/bin/true"), ("sk_sleep", "/bin/sleep")):
            shutil.copy(original, cls.directory / name)

    def texts(self, name, program, backend, *command, ours=True, **options):
        result = self.skep("run", self.write(f"{name}.bpf.c", program), "--backend", backend, "--", *command, cwd=self.directory, **options)
        lines = [m for m in (re.match(TRACE_LINE, line) for line in result.stdout.splitlines()) if m]
        found = [(m["comm"], m["text"]) for m in lines if not ours or m["comm"].startswith("sk_")]
        self.assertTrue(found, result.stdout + result.stderr)
        return found, result

    def test_sockets_are_those_of_the_kernel(self):
        """One source, both engines: what descriptors lead to, apart from port numbers, which are the sockets' own."""
        name = f"sk_{os.getpid()}"  # everybody's calls come to the kernel's program
        (self.directory / name).symlink_to("/usr/bin/python3")
        witness, seen, mark = self.write("connect.py", CONNECT), {}, f"sockets{os.getpid()} "  # the kernel's pipe is everybody's
        for backend in ("user", "kernel") if can_use_kernel_bpf() else ("user",):
            source = SOCKETS.replace("NAME", name).replace('bpf_printk("', f'bpf_printk("{mark}')
            found, result = self.texts("sockets", source, backend, str(self.directory / name), "-I", witness, ours=False)
            client, server, six = re.search(r"^ends (\d+) (\d+) (\d+)$", result.stdout, re.M).groups()
            names = {client: "CLIENT", server: "SERVER", six: "SIX"}
            seen[backend] = [re.sub(r"\b\d{4,5}\b", lambda port: names.get(port[0], port[0]), text)
                             for text in (text.removeprefix(mark) for _, text in found if text.startswith(mark))]
        lines = seen["user"]
        for line in ("ports CLIENT SERVER", "ports SERVER 0", "ports SIX 0", "four 7f000001 7f000001", "six 1 0", "file 8 mode 2000",
                     "socket 5 family 1 type 1", "protocol 17 state 0 net 1", "protocol 6 state 1 net 1", "reuse 1 0 only 1", "reuse 0 1 only 0", "closed 9"):
            self.assertIn(line, lines)
        if len(seen) == 2:
            self.assertEqual(seen["user"], seen["kernel"])

    def test_host_names_are_those_of_the_tasks_namespace(self):
        """A namespace of its own can be looked into by root only."""
        shell, host = str(self.directory / "sk_shell"), os.uname()
        found, _ = self.texts("host", HOST, "user", shell, "-c", "./sk_true")
        self.assertEqual([text for _, text in found], 2 * [f"loads {host.nodename} in 1", f"read Linux {host.nodename} {host.machine}"])
        need(os.getuid() == 0, "root, for a UTS namespace")
        found, _ = self.texts("host", HOST, "user", "unshare", "-u", shell, "-c", "echo elsewhere > /proc/sys/kernel/hostname; ./sk_true")
        self.assertEqual([text for _, text in found][-2:], ["loads elsewhere in 1", f"read Linux elsewhere {host.machine}"])
        self.assertEqual(os.uname().nodename, host.nodename)

    def test_numbers_are_those_of_proc(self):
        witness = self.write("witness.py", WITNESS)
        for user in (None, "nobody") if os.getuid() == 0 else (None,):
            options = {} if user is None else {"user": user, "env": dict(self.environment, XDG_CACHE_HOME="/tmp", XDG_RUNTIME_DIR="/tmp")}
            # The program runs at each getppid; os.getppid() is one.
            source = NUMBERS.replace("mnt_ns)", "mnt_ns) != 0")
            found, result = self.texts("numbers", source, "user", "/usr/bin/python3", witness, ours=False, **options)
            said = set(result.stdout.splitlines())
            for _, text in found:
                if not text.startswith("ns1"):
                    self.assertIn(text, said, result.stdout)

    def test_typed_and_read_fields_are_the_kernels(self):
        need(can_use_kernel_bpf(), "CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN): the kernel engine cannot be used here")
        # The kernel's pipe is everybody's, and its column of names a guess made when it is read: ours begin with a mark.
        mark = f"reads{os.getpid()} "
        reads = READS.replace("p->nsproxy->mnt_ns, ", "p->nsproxy->mnt_ns != 0, ").replace('bpf_printk("', f'bpf_printk("{mark}')
        asleep = 'while read name < /proc/$!/comm && [ "$name" != sk_sleep ]; do :; done'
        script = f"./sk_true; (exit 3); ./sk_sleep 5 & {asleep}; kill $!; wait $!; exit 4"
        seen = {}
        for backend in ("kernel", "user"):
            found, _ = self.texts("reads", reads, backend, str(self.directory / "sk_shell"), "-c", script, ours=False)
            seen[backend] = sorted(text for _, text in found if text.startswith(mark))
        self.assertEqual(seen["kernel"], seen["user"])

    def test_ancestors_and_stale_pointers(self):
        found, result = self.texts("ancestors", ANCESTORS, "user", "/bin/true", ours=False)
        depth, pid = 0, os.getpid()
        while pid > 1:
            with open(f"/proc/{pid}/stat") as stat:
                pid = int(stat.read().rsplit(")", 1)[1].split()[1])
            depth += 1
        # Between this process and the command: skep and its tracer.
        self.assertEqual(found[0][1], f"depth {depth + 3} nowhere 0")

    def test_a_missing_field_is_named(self):
        program = HEAD + 'SEC("tp_btf/sched_process_exec") int BPF_PROG(p, struct task_struct *t) { return t->stack != 0; }'
        result = self.skep("run", self.write("missing.bpf.c", program), "--", "true", check=1)
        self.assertIn("`stack` (struct task_struct)", result.stderr)
        guarded = HEAD + """
const volatile bool in_kernel = false;
SEC("tp_btf/sched_process_exec") int BPF_PROG(p, struct task_struct *t) {
  bpf_printk("exists %d %d", bpf_core_field_exists(t->stack), bpf_core_field_exists(t->real_parent));
  if (in_kernel) return t->stack != 0;
  return 0;
}"""
        found, _ = self.texts("guarded", guarded, "user", "true", ours=False)
        self.assertEqual(found[0][1], "exists 0 1")

    def test_writes_are_refused(self):
        program = HEAD + 'SEC("tp_btf/sched_process_exec") int BPF_PROG(p, struct task_struct *t) { t->pid = 1; return 0; }'
        result = self.skep("run", self.write("writes.bpf.c", program), "--", "true", check=1)
        self.assertIn("V", result.stderr)

    def test_storage_of_another_task(self):
        program = HEAD + """
struct { __uint(type, BPF_MAP_TYPE_TASK_STORAGE); __uint(map_flags, BPF_F_NO_PREALLOC); __type(key, int); __type(value, int); } marks SEC(".maps");
SEC("tp_btf/sched_process_fork") int BPF_PROG(forked, struct task_struct *parent, struct task_struct *child) {
  int *mark = bpf_task_storage_get(&marks, child, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
  if (mark) *mark = child->pid;
  return 0;
}
SEC("tp_btf/sched_process_exit") int BPF_PROG(ended, struct task_struct *p) {
  int *mark = bpf_task_storage_get(&marks, p, 0, 0);
  bpf_printk("mark %d", mark ? *mark == p->pid : -1);
  return 0;
}"""
        found, _ = self.texts("storage", program, "user", "sh", "-c", "/bin/true; (exit 1); true", ours=False)
        self.assertEqual(sorted(text for _, text in found), ["mark -1", "mark 1", "mark 1"])


if __name__ == "__main__":
    main()
