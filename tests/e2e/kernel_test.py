"""The same programs in the kernel: where the capability is there they must work, where it is not skep must say which."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import time
import unittest

from support import EXAMPLES, SKEP, TRACE_LINE, Case, can_use_kernel_bpf, demoted, finish, main, need, need_clang

LEFT = """
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int MY_xdp(struct xdp_md *ctx) { return XDP_PASS; }
SEC("tcx/ingress") int MY_tc(struct __sk_buff *ctx) { return -1; }
SEC("uprobe") int MY_user(struct pt_regs *ctx) { return 0; }
char LICENSE[] SEC("license") = "GPL";
"""
PINNED_XDP = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); __uint(pinning, LIBBPF_PIN_BY_NAME); } MY SEC(".maps");
SEC("xdp") int tried(struct xdp_md *ctx) {
  __u32 key = 0;
  return bpf_map_lookup_elem(&MY, &key) ? XDP_PASS : XDP_DROP;
}
char LICENSE[] SEC("license") = "GPL";
"""

PINNED = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, VALUE);
  __uint(pinning, LIBBPF_PIN_BY_NAME);
} MY SEC(".maps");
SEC("raw_tp/sched_process_exec") int count(void *ctx) {
  __u32 key = 0;
  VALUE *value = bpf_map_lookup_elem(&MY, &key);
  if (value) __sync_fetch_and_add(value, 1);
  return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""
STACKS = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(max_entries, 64); __uint(key_size, 4); __uint(value_size, 1016); } stacks SEC(".maps");
int wanted;
SEC("tp/syscalls/sys_enter_getppid") int of_a_call(void *ctx) {
  if (wanted == 0) wanted = bpf_get_stackid(ctx, &stacks, 0);
  return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


class Kernel(Case):
    @classmethod
    def setUpClass(cls):
        need_clang()
        super().setUpClass()

    def test_hello(self):
        need(can_use_kernel_bpf(), "CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN) and /sys/kernel/btf/vmlinux: the kernel engine cannot be used here")
        marker = f"skep{os.getpid()}"
        result = self.skep("run", EXAMPLES / "hello.bpf.c", "--backend", "kernel", "--attach", "syscall:execve", "--",
                           "bash", "-c", f"sleep 0.3; (exec -a {marker} /bin/true); (exec -a {marker} /bin/true); sleep 0.3", check=0)
        lines = [m for m in (re.match(TRACE_LINE, line) for line in result.stdout.splitlines()) if m]
        self.assertGreaterEqual(len([m for m in lines if m["text"] == "Hello World!"]), 2, result.stdout + result.stderr)
        self.assertRegex(result.stderr, r"kernel engine")

    def test_counter_is_inspected_by_us_and_by_bpftool(self):
        need(can_use_kernel_bpf(), "CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN): the kernel engine cannot be used here")
        host = self.start("run", EXAMPLES / "counter.bpf.c", "--backend", "kernel", "--attach", "syscall:execve", "--",
                          "sh", "-c", "/bin/true; /bin/true; echo ready; read x", stdin=subprocess.PIPE)
        self.addCleanup(host.stdin.close)
        self.assertEqual(host.stdout.readline(), "ready\n", host.stderr.read() if host.poll() is not None else "")
        programs = [p for p in json.loads(self.skep("prog", "show", "-j", check=0).stdout) if p.get("name") == "hello" and not p.get("uid") and p["id"] < 2**31]
        self.assertGreaterEqual(len(programs), 1)
        program = programs[-1]
        table = json.loads(self.skep("map", "show", "id", str(program["map_ids"][0]), "-j", check=0).stdout)
        self.assertEqual((table["name"], table["bytes_key"], table["bytes_value"]), ("counter_table", 8, 8))
        entries = json.loads(self.skep("map", "dump", "id", str(table["id"]), check=0).stdout)
        self.assertGreaterEqual({e["key"]: e["value"] for e in entries}.get(0, 0), 2)
        text = self.skep("prog", "dump", "xlated", "id", str(program["id"]), check=0).stdout
        self.assertIn("call bpf_get_current_uid_gid", text)

        jited = self.skep("prog", "dump", "jited", "id", str(program["id"]), "opcodes", "linum", "-j")
        if jited.returncode == 0:
            functions = json.loads(jited.stdout)
            self.assertEqual(functions[0]["proto"], "int hello(void * ctx)")
            self.assertRegex(functions[0]["name"], r"^(bpf_prog_[0-9a-f]{16}_hello|0x[0-9a-f]{16})$")
            self.assertEqual(sum(len(i["opcodes"]) for f in functions for i in f["insns"]), program["bytes_jited"])
            # Where kprobes are carried by another hook there are two functions: a pt_regs is made, then the program runs.
            lines = [i for f in functions for i in f["insns"] if "src" in i]
            self.assertTrue(any("bpf_get_current_uid_gid" in i["src"] and i["line_num"] > 0 for i in lines), lines)
            machine_code = self.skep("prog", "dump", "jited", "id", str(program["id"]), check=0).stdout
            self.assertRegex(machine_code, r"(?m)^; .*bpf_get_current_uid_gid.*\n +[0-9a-f]+:\t\S")
        else:
            self.assertRegex(jited.stderr, "libcapstone-dev|kptr_restrict|bpf_jit_enable")

        bpftool = subprocess.run(["bpftool", "version"], capture_output=True) if os.path.exists("/usr/sbin/bpftool") else None
        if bpftool is not None and bpftool.returncode == 0:
            for what in (("prog", "show", "id", program["id"]), ("map", "show", "id", table["id"])):
                words = [str(word) for word in what]
                theirs = json.loads(subprocess.run(["/usr/sbin/bpftool", "-j", *words], text=True, capture_output=True, check=True).stdout)
                ours = json.loads(self.skep(*words, "-j", check=0).stdout)
                # Whole seconds of two clocks that were read at different moments.
                self.assertAlmostEqual(ours.pop("loaded_at", 0), theirs.pop("loaded_at", 0), delta=1)
                for key in theirs:
                    if key not in ("run_time_ns", "run_cnt", "pids"):
                        self.assertEqual(ours.get(key), theirs[key], key)
            theirs = subprocess.run(["/usr/sbin/bpftool", "prog", "dump", "xlated", "id", str(program["id"])], text=True, capture_output=True, check=True).stdout
            self.assertEqual(text, theirs)
        host.stdin.write("\n")
        host.stdin.close()
        self.assertEqual(host.wait(timeout=20), 0)
        gone = self.skep("prog", "show", "id", str(program["id"]))
        deadline = time.monotonic() + 10
        while gone.returncode == 0 and time.monotonic() < deadline:
            time.sleep(0.1)
            gone = self.skep("prog", "show", "id", str(program["id"]))
        self.assertNotEqual(gone.returncode, 0, "detached and freed")

    def test_stacks_have_names(self):
        need(can_use_kernel_bpf(), "CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN): the kernel engine cannot be used here")
        source = self.write("stacks.bpf.c", STACKS)
        command = ("--", "sh", "-c", "exec python3 -c 'import os; os.getppid()'")
        text = self.skep("run", source, "--backend", "kernel", *command, check=0).stdout
        self.assertRegex(text, r"(?m)^stacks: stack_trace, 1 stack\n  \d+\n(    .*\n)*    .*do_syscall_64\+0x[0-9a-f]+ \[kernel\]$")
        maps = [json.loads(line) for line in self.skep("run", source, "--backend", "kernel", "-j", *command, check=0).stdout.splitlines()]
        (stacks,) = [one for one in maps if one["map"] == "stacks"]
        self.assertIn("do_syscall_64", " ".join(stacks["entries"][0]["frames"]))

    def test_killed_it_leaves_nothing(self):
        need(can_use_kernel_bpf(), "CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN): the kernel engine cannot be used here")
        name = f"k{os.getpid()}"
        source = self.write("left.bpf.c", LEFT.replace("MY", name))
        # A network namespace of its own, whose lo the packets pass; it goes with the process.
        inside = f"ip link set lo up 2>/dev/null; exec {SKEP} run {source} --backend kernel --attach {name}_xdp=xdp:lo " \
                 f"--attach {name}_tc=tcx/ingress:lo --attach {name}_user=uprobe:libc.so.6:getenv"
        host = subprocess.Popen(["unshare", "-n", "sh", "-c", inside], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=self.environment)
        self.addCleanup(finish, host)
        self.assertIn("kernel engine", host.stderr.readline())
        mine = lambda: {p["id"] for p in json.loads(self.skep("prog", "show", "-j", check=0).stdout) if p.get("name", "").startswith(name)}
        self.assertEqual(len(mine()), 3)
        host.kill()
        host.wait(timeout=20)
        deadline = time.monotonic() + 10
        while mine() and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(mine(), set(), "programs outlived the process that attached them")

    def test_a_watched_process_is_left_alone(self):
        need(can_use_kernel_bpf(), "CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN): the kernel engine cannot be used here")
        source = self.write("left.bpf.c", LEFT.replace("MY", "x"))
        watched = subprocess.Popen(["sleep", "60"])
        self.addCleanup(watched.wait)
        self.addCleanup(watched.kill)
        host = self.start("run", source, "--backend", "kernel", "--program", "x_user", "--attach", "uprobe:libc.so.6:getenv", "-p", str(watched.pid))
        self.assertIn("kernel engine", host.stderr.readline())
        host.terminate()
        self.assertNotEqual(host.wait(timeout=20), None)
        self.assertIsNone(watched.poll(), "stopping skep is not stopping what it watched")

    def test_pinned_by_name_is_shared_and_checked(self):
        need(can_use_kernel_bpf(), "CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN): the kernel engine cannot be used here")
        need(os.path.ismount("/sys/fs/bpf") and os.access("/sys/fs/bpf", os.W_OK), "bpffs at /sys/fs/bpf, where maps are pinned by name")
        name = f"skep_pin_{os.getpid()}"
        pin = f"/sys/fs/bpf/{name}"
        self.addCleanup(lambda: os.path.exists(pin) and os.unlink(pin))
        source = self.write("pinned.bpf.c", PINNED.replace("MY", name).replace("VALUE", "__u64"))
        for expected in (1, 2):
            self.skep("run", source, "--backend", "kernel", "-q", "--", "/bin/true", check=0)
            entries = json.loads(self.skep("map", "dump", "pinned", pin, "-j", check=0).stdout)
            self.assertGreaterEqual(entries[0]["formatted"]["value"] if "formatted" in entries[0] else entries[0]["value"], expected,
                                    "the map outlives the process and is used again")
        flagged = self.write("flagged.bpf.c", PINNED.replace("MY", name).replace("VALUE", "__u64").replace("__uint(pinning", "__uint(map_flags, BPF_F_MMAPABLE); __uint(pinning"))
        self.assertIn("8, 1 entries, flags 0x0); the object's is array, key 4, value 8, 1 entries, flags 0x400", self.skep("run", flagged, "--backend", "kernel", "--", "/bin/true", check=2).stderr)
        other = self.write("other.bpf.c", PINNED.replace("MY", name).replace("VALUE", "__u32"))
        refused = self.skep("run", other, "--backend", "kernel", "--", "/bin/true")
        self.assertNotEqual(refused.returncode, 0)
        self.assertRegex(refused.stderr, f"{pin} holds another map .*value 8 bytes|{pin} holds another map \\(array, key 4, value 8")

    def test_a_field_that_this_kernel_lacks_is_told_as_that(self):
        need(can_use_kernel_bpf(), "CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN): the kernel engine cannot be used here")
        source = self.write("lacking.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct task_struct { int no_such_field; } __attribute__((preserve_access_index));
SEC("raw_tp/sys_enter") int lacking(void *ctx) {
  struct task_struct *task = (void *)bpf_get_current_task();
  int value = 0;
  bpf_probe_read_kernel(&value, sizeof(value), &task->no_such_field);
  return value;
}
char LICENSE[] SEC("license") = "GPL";
""")
        refused = self.skep("run", source, "--backend", "kernel", "--", "/bin/true")
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("a CO-RE relocation found no such type, field or value in this kernel", refused.stderr)

    def test_of_declarations_of_one_kernel_function_the_right_one_is_there(self):
        need(can_use_kernel_bpf(), "CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN): the kernel engine cannot be used here")
        need(b"bpf_task_acquire" in pathlib.Path("/proc/kallsyms").read_bytes(), "a kernel with bpf_task_acquire() (6.2)")
        source = self.write("declared.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct task_struct;
extern void bpf_task_release___v1(struct task_struct *task, int flags) __ksym __weak;
extern void bpf_task_release___v2(struct task_struct *task) __ksym __weak;
extern struct task_struct *bpf_task_acquire___v1(int pid) __ksym __weak;
extern struct task_struct *bpf_task_acquire(struct task_struct *task) __ksym;
int there[4];
SEC("tp_btf/sys_enter") int declared(void *ctx) {
  struct task_struct *task = bpf_task_acquire(bpf_get_current_task_btf());
  there[0] = !!bpf_task_release___v1;
  there[1] = !!bpf_task_release___v2;
  there[2] = !!bpf_task_acquire___v1;
  if (!task) return 0;
  if (bpf_task_release___v1) bpf_task_release___v1(task, 5);
  else if (bpf_task_release___v2) bpf_task_release___v2(task);
  there[3] = 1;
  return 0;
}
char LICENSE[] SEC("license") = "GPL";
""")
        result = self.skep("run", source, "--backend", "kernel", "-j", "--", "/bin/true", check=0)
        self.assertIn('"there":[0,1,0,1]', result.stdout)
        wrong = self.write("wrong.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
extern void bpf_rcu_read_lock(int how) __ksym;
SEC("tp_btf/sys_enter") int wrong(void *ctx) { bpf_rcu_read_lock(1); return 0; }
char LICENSE[] SEC("license") = "GPL";
""")
        self.assertIn("bpf_rcu_read_lock(): the program declares it with other parameters", self.skep("run", wrong, "--backend", "kernel", "--", "/bin/true", check=1).stderr)

    def test_types_of_the_kernel_come_from_a_file_where_one_is_given(self):
        need(can_use_kernel_bpf(), "CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN): the kernel engine cannot be used here")
        need(os.path.exists("/sys/kernel/btf/vmlinux"), "a kernel with BTF")
        source = self.write("fields.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct task_struct { int tgid; } __attribute__((preserve_access_index));
int tgid;
SEC("raw_tp/sys_enter") int fields(void *ctx) {
  struct task_struct *task = (void *)bpf_get_current_task();
  int value = 0;
  bpf_probe_read_kernel(&value, sizeof(value), &task->tgid);
  if (value == bpf_get_current_pid_tgid() >> 32) tgid = 1;
  return 0;
}
char LICENSE[] SEC("license") = "GPL";
""")
        self.skep("compile", source, "-o", self.directory / "fields.o", check=0)
        self.skep("gen", "min_core_btf", "/sys/kernel/btf/vmlinux", self.directory / "small.btf", self.directory / "fields.o", check=0)
        result = self.skep("run", source, "--backend", "kernel", "--btf", self.directory / "small.btf", "-j", "--", "/bin/true", check=0)
        self.assertIn('"tgid":1', result.stdout)
        for name, content, said in (("empty", b"", "0 bytes, a header alone has 24"), ("text", b"this is no BTF, and says so in plain words", "expected 0xeb9f")):
            (self.directory / name).write_bytes(content)
            self.assertIn(said, self.skep("run", source, "--backend", "kernel", "--btf", self.directory / name, "--", "/bin/true", check=1).stderr)
        self.assertIn("No such file", self.skep("run", source, "--backend", "kernel", "--btf", self.directory / "gone", "--", "/bin/true", check=1).stderr)
        self.assertIn("--backend kernel", self.skep("run", source, "--btf", self.directory / "small.btf", "--", "/bin/true", check=2).stderr)

    def test_types_of_the_kernel_from_a_file_for_test_and_bench(self):
        need(can_use_kernel_bpf(), "CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN): the kernel engine cannot be used here")
        need_clang()
        source = self.write("types_of_a_file.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
struct task_struct { int pid; int tgid; } __attribute__((preserve_access_index));
SEC("xdp") int offset(struct xdp_md *ctx) { return bpf_core_field_offset(struct task_struct, tgid) ? XDP_PASS : XDP_DROP; }
char _license[] SEC("license") = "GPL";
""")
        self.skep("compile", source, "-o", self.directory / "types_of_a_file.o", check=0)
        self.skep("gen", "min_core_btf", "/sys/kernel/btf/vmlinux", self.directory / "offset.btf", self.directory / "types_of_a_file.o", check=0)
        (self.directory / "no.btf").write_bytes(b"no types")
        small, none = self.directory / "offset.btf", self.directory / "no.btf"
        self.assertIn("1 of 1 cases hold", self.skep("test", source, "--engine", "kernel", "--expect", "XDP_PASS", "--btf", small, check=0).stdout)
        row = json.loads(self.skep("bench", source, "--engine", "kernel", "--repeat", "100", "--btf", small, "-j", check=0).stdout)
        self.assertEqual((row["engine"], row["result"]), ("kernel", 2))
        self.assertGreater(row["code_bytes"], 0)
        # Where the file has the field at another place, the program is told that: it is the file that was read.
        moved = self.write("moved.bpf.c", 'struct task_struct { int tgid, pid; } one;\n')
        self.skep("compile", moved, "-o", self.directory / "moved.o", check=0)
        image = (self.directory / "moved.o").read_bytes()
        begin = image.index(bytes.fromhex("9feb010018000000"))  # the section .BTF: a header of 24 bytes, types, strings
        _, _, strings, length = (int.from_bytes(image[begin + at : begin + at + 4], "little") for at in (8, 12, 16, 20))
        (self.directory / "moved.btf").write_bytes(image[begin : begin + 24 + strings + length])
        self.assertIn("1 of 1 cases hold", self.skep("test", source, "--engine", "kernel", "--expect", "XDP_DROP", "--btf", self.directory / "moved.btf", check=0).stdout)
        row = json.loads(self.skep("bench", source, "--engine", "kernel", "--repeat", "100", "--btf", self.directory / "moved.btf", "-j", check=0).stdout)
        self.assertEqual(row["result"], 1)
        for verb in ("test", "bench"):
            self.assertRegex(self.skep(verb, source, "--engine", "kernel", "--btf", none, check=1).stderr, "no.btf")
            self.assertIn("No such file", self.skep(verb, source, "--engine", "kernel", "--btf", self.directory / "gone", check=1).stderr)
            self.assertIn("in the kernel engine only, not in jit", self.skep(verb, source, "--engine", "jit", "--btf", small, check=2).stderr)

    def test_what_the_machine_refuses_is_told(self):
        need(can_use_kernel_bpf(), "CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN): the kernel engine cannot be used here")
        need_clang()
        source = self.write("refused.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int packet(struct xdp_md *ctx) { return XDP_PASS; }
SEC("perf_event") int sample(void *ctx) { return 0; }
char _license[] SEC("license") = "GPL";
""")
        run = lambda program, hook: self.skep("run", source, "--backend", "kernel", "--program", program, "--attach", hook, "--", "true", check=1).stderr
        with open("/proc/sys/kernel/perf_event_max_sample_rate") as setting:
            most = int(setting.read())
        self.assertRegex(run("sample", f"perf_event:cpu-clock:{most + 1}hz"),
                         rf"{most + 1} samples a second; at most \d+ here \(sysctl kernel.perf_event_max_sample_rate\)")
        profile = self.skep("profile", "-F", most + 1, "1", check=1).stderr
        self.assertIn("samples a second; at most", profile)
        with_offload = ["unshare", "-n", SKEP, "run", source, "--backend", "kernel", "--program", "packet", "--attach", "xdp:lo:offload", "--", "true"]
        refused = subprocess.run(with_offload, text=True, capture_output=True, env=self.environment, timeout=60)
        need("unshare" not in refused.stderr, "no network namespace of our own: " + refused.stderr)
        self.assertEqual(refused.returncode, 1, refused.stderr)
        self.assertIn("the card runs no programs: native or generic", refused.stderr)
        for option in ("dev", "offload_dev", "xdpmeta_dev"):
            said = self.skep("prog", "load", source, "/sys/fs/bpf/skep_not_made", option, "lo", check=1).stderr
            self.assertIn(f"'{option}': skep loads no programs into network devices", said)
            self.assertFalse(os.path.exists("/sys/fs/bpf/skep_not_made"))
        self.assertIn("No such file", self.skep("opensnoop", "--backend", "kernel", "--btf", self.directory / "gone", "--", "/bin/true", check=1).stderr)
        need(shutil.which("unshare") and shutil.which("mount") and os.geteuid() == 0, "unshare and mount (util-linux), as root: no mounts of our own")
        run = f"{SKEP} run fields.o --backend kernel -j"
        hidden = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", f"mount -t tmpfs none /sys/kernel/btf || exit 77; {run} -- true; {run} --btf small.btf -- true"],
                                text=True, capture_output=True, cwd=self.directory, env=self.environment, timeout=120)
        need(hidden.returncode != 77, "the right to mount over /sys/kernel/btf: " + hidden.stderr)
        self.assertIn("For CO-RE, name a BTF file of this very kernel: --btf FILE", json.loads(hidden.stdout.splitlines()[0])["error"])
        self.assertIn('"tgid":1', hidden.stdout)

    def test_what_is_tried_out_pins_nothing(self):
        need(can_use_kernel_bpf(), "CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN): the kernel engine cannot be used here")
        need(os.path.ismount("/sys/fs/bpf") and os.access("/sys/fs/bpf", os.W_OK), "bpffs at /sys/fs/bpf, where maps are pinned by name")
        name = f"skep_tried_{os.getpid()}"
        pin = f"/sys/fs/bpf/{name}"
        self.addCleanup(lambda: os.path.exists(pin) and os.unlink(pin))
        source = self.write("tried.bpf.c", PINNED_XDP.replace("MY", name))
        engines = {json.loads(line)["engine"] for line in self.skep("test", source, "--expect", "XDP_PASS", "-j", check=0).stdout.splitlines()}
        self.assertIn("kernel", engines)
        self.skep("bench", source, "--engine", "kernel", "--repeat", "10", check=0)
        self.assertFalse(os.path.exists(pin), "a map of a test stays behind")

    def test_hooks_that_are_not_there_are_named(self):
        need(can_use_kernel_bpf(), "CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN): the kernel engine cannot be used here")
        source = self.write("left.bpf.c", LEFT.replace("MY", "x"))
        for hook, said in (("x_xdp=xdp:nowhere0", 'no interface "nowhere0"'), ("x_xdp=xdp", "INTERFACE"),
                           ("x_user=uprobe:libc.so.6:getenb", 'did you mean "getenv"'), ("x_user=uprobe:/nowhere:f", 'no file "/nowhere"'),
                           ("x_tc=tc:lo", "ingress:INTERFACE"), ("x_xdp=cgroup/connect4:/tmp", "type xdp (section \"xdp\"), and cgroup/connect4:/tmp runs programs of type cgroup_sock_addr"), ("y=xdp:lo", "which of the programs")):
            one = [] if hook.startswith("y=") else ["--program", hook.split("=")[0]]
            result = self.skep("run", source, "--backend", "kernel", *one, "--attach", hook, "--", "/bin/true")
            self.assertIn(result.returncode, (1, 2), hook)
            self.assertIn(said, result.stderr, hook)

    def test_without_the_capability(self):
        need(os.geteuid() == 0, "not root: covered by the next line of the report")
        result = self.skep("run", EXAMPLES / "hello.bpf.c", "--backend", "kernel", "--attach", "syscall:execve", "--", "/bin/true", user="nobody",
                           env=dict(self.environment, XDG_CACHE_HOME="", HOME="/nonexistent", XDG_RUNTIME_DIR=""))
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        self.assertIn("CAP_BPF", result.stderr)


if __name__ == "__main__":
    main()
