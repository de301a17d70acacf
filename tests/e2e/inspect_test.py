"""From another terminal: what runs in a user-engine process, shown, dumped and changed through its control socket."""
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import time
import unittest

from support import EXAMPLES, SKEP, SOURCE, Case, can_use_kernel_bpf, demoted, finish, main, need, need_clang


class Hosted(Case):
    """A user-engine process of our own, `self.host`, seen from outside."""

    @classmethod
    def setUpClass(cls):
        need_clang()
        super().setUpClass()

    def mine(self, objects):
        """The host's objects among all that are shown: tests share the machine."""
        return [o for o in objects if any(p["pid"] == self.host.pid for p in o.get("pids", []))]

    def show(self, what, *arguments):
        return json.loads(self.skep(what, "show", *arguments, "-j", check=0).stdout)


class Inspection(Hosted):
    def setUp(self):
        """A host that counts execs of a shell which goes on until its input ends."""
        self.host = self.start("run", EXAMPLES / "counter.bpf.c", "--program", "hello", "--attach", "syscall:execve", "--",
                               "sh", "-c", "/bin/true; /bin/true; echo ready; read x", stdin=subprocess.PIPE)
        self.addCleanup(self.host.stdin.close)
        self.assertEqual(self.host.stdout.readline(), "ready\n", self.host.stderr.read() if self.host.poll() is not None else "")

    def test_programs_and_maps_are_shown(self):
        (program,) = self.mine(self.show("prog"))
        self.assertEqual([key for key in program if not key.startswith("run_")][:6], ["id", "type", "name", "tag", "gpl_compatible", "loaded_at"])
        self.assertEqual((program["name"], program["type"], program["uid"]), ("hello", "kprobe", os.getuid()))
        self.assertRegex(program["tag"], "^[0-9a-f]{16}$")
        self.assertLess(abs(program["loaded_at"] - time.time()), 60)
        (table,) = self.mine(self.show("map"))
        self.assertEqual((table["name"], table["type"], table["bytes_key"], table["bytes_value"], table["max_entries"]), ("counter_table", "hash", 8, 8, 10240))
        self.assertEqual(program["map_ids"], [table["id"]])
        (link,) = self.mine(self.show("link"))
        self.assertEqual(link["prog_id"], program["id"])
        self.assertIn("execve", link["target"])

        self.assertEqual(self.show("prog", "id", str(program["id"]))["tag"], program["tag"])
        self.assertEqual(self.show("prog", str(program["id"]))["tag"], program["tag"])
        self.assertEqual(self.show("map", str(table["id"]))["name"], "counter_table")
        self.assertIn(f"process {self.host.pid}", self.skep("prog", "why", program["id"], check=0).stdout)
        self.skep("diff", program["id"], "name", "hello", check=0)
        for words, told in ((("prog", "why", "hello"), "'hello' does not name a program: expected id N"), (("prog", "why", "name"), "'name' must be followed by a value"),
                            (("prog", "why", "99999999999"), "'99999999999' does not name a program"), (("link", "show", "name", "x"), "'name' does not name a link"),
                            (("prog", "show", "id", "7x"), "id '7x' is not a number")):
            self.assertIn(told, self.skep(*words, check=2).stderr)
        text = self.skep("prog", "show", "id", str(program["id"]), check=0).stdout
        self.assertRegex(text, rf"{program['id']}: kprobe  name hello  tag {program['tag']}  gpl.*\n\tloaded_at \S+  uid {os.getuid()}\n\txlated \d+B")
        pretty = self.skep("prog", "show", "name", "hello", "--pretty", check=0).stdout
        self.assertIn('"name": "hello"', pretty)

    def test_a_process_may_be_called_anything(self):
        """A name of a process is its owner's, and a terminal obeys what it holds."""
        name = "h\x1b[2J\x9b"  # at most 15 bytes, the last two of which are one more escape
        os.symlink(SKEP, self.directory / name)
        host = subprocess.Popen([self.directory / name, "run", EXAMPLES / "counter.bpf.c", "--program", "hello", "--attach", "syscall:execve", "--",
                                 "sh", "-c", "echo ready; read x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=self.environment)
        self.addCleanup(finish, host)
        self.addCleanup(host.stdin.close)
        self.assertEqual(host.stdout.readline(), "ready\n")
        (program,) = [p for p in self.show("prog") if any(q["pid"] == host.pid for q in p.get("pids", []))]
        self.assertEqual(program["pids"][0]["comm"], name)
        handle = ("id", str(program["id"]))
        for arguments in (("prog", "show"), ("map", "show"), ("link", "show"), ("prog", "show", *handle, "-j"), ("prog", "why", *handle),
                          ("prog", "why", *handle, "-j"), ("prog", "top", "interval", "0.1", "count", "1")):
            shown = self.skep(*arguments, check=0).stdout
            self.assertNotRegex(shown, "[\x00-\x08\x0b-\x1f\x7f-\x9f]", arguments)
        self.assertIn(rf"h\x1b[2J\xc2\x9b({host.pid})", self.skep("prog", "show", *handle, check=0).stdout)

    def test_instructions_with_their_lines(self):
        (program,) = self.mine(self.show("prog"))
        text = self.skep("prog", "dump", "xlated", "id", str(program["id"]), check=0).stdout
        self.assertIn("int hello(void * ctx):", text)
        self.assertIn("; uid = bpf_get_current_uid_gid() & 0xFFFFFFFF;", text)
        self.assertRegex(text, r"(?m)^   0: \(85\) call bpf_get_current_uid_gid#15$")
        self.assertRegex(text, r"r1 = map\[id:\d+\]")
        self.assertRegex(text, r"\(95\) exit\n$")
        entries = json.loads(self.skep("prog", "dump", "xlated", "id", str(program["id"]), "-j", check=0).stdout)
        self.assertEqual(entries[0]["proto"], "int hello(void * ctx)")
        self.assertTrue(all("disasm" in entry for entry in entries))

    def test_machine_code(self):
        (program,) = self.mine(self.show("prog"))
        handle = ("id", str(program["id"]))
        result = self.skep("prog", "dump", "jited", *handle)
        if result.returncode != 0:
            self.assertIn("libcapstone-dev", result.stderr)
            self.assertIn("(bytes)", self.skep("prog", "dump", "jited", *handle, "opcodes", check=0).stdout)
            need(False, "libcapstone-dev: the tool was built without a disassembler")
        self.assertRegex(result.stdout, r"\Aint hello\(void \* ctx\):\nhello:\n   0:\t")
        self.assertRegex(result.stdout, r"\n {0,3}[0-9a-f]+:\tret")
        self.assertNotIn("(bad)", result.stdout)
        (function,) = json.loads(self.skep("prog", "dump", "jited", *handle, "opcodes", "linum", "-j", check=0).stdout)
        self.assertEqual((function["name"], function["proto"]), ("hello", "int hello(void * ctx)"))
        pc = 0
        for entry in function["insns"]:
            self.assertEqual(entry["pc"], hex(pc))
            self.assertTrue(entry["operation"] and entry["operands"])
            pc += len(entry["opcodes"])
        self.assertEqual(pc, self.show("prog", *handle)["bytes_jited"])
        self.assertIn("expected xlated or jited", self.skep("prog", "dump", "native", *handle, check=2).stderr)

    def test_map_is_dumped_and_changed(self):
        (table,) = self.mine(self.show("map"))
        handle = ("id", str(table["id"]))
        uid = os.getuid()
        self.assertEqual(json.loads(self.skep("map", "dump", *handle, check=0).stdout), [{"key": uid, "value": 3}])
        (entry,) = json.loads(self.skep("map", "dump", *handle, "-j", check=0).stdout)
        self.assertEqual(entry["formatted"], {"key": uid, "value": 3})
        self.assertEqual(entry["value"], ["0x03"] + ["0x00"] * 7)
        self.assertEqual(json.loads(self.skep("map", "dump", "name", "counter_table", check=0).stdout)[0]["value"], 3) if len([m for m in self.show("map") if m.get("name") == "counter_table"]) == 1 else None

        self.skep("map", "update", *handle, "key", "77", "value", "5", check=0)
        self.assertEqual(json.loads(self.skep("map", "lookup", *handle, "key", "77", check=0).stdout), {"key": 77, "value": 5})
        self.skep("map", "update", *handle, "key", "hex", "4d", *["00"] * 7, "value", "6", *["0"] * 7, "exist", check=0)
        self.assertEqual(json.loads(self.skep("map", "lookup", *handle, "key", "77", check=0).stdout)["value"], 6)
        self.skep("map", "update", *handle, "key", "77", "value", "1", "noexist", check=1)
        self.skep("map", "delete", *handle, "key", "77", check=0)
        self.assertIn("no", self.skep("map", "lookup", *handle, "key", "77", check=1).stderr)
        self.skep("map", "delete", *handle, "key", "77", check=1)
        self.skep("map", "update", *handle, "key", "1", "2", "value", "1", check=2)
        self.skep("map", "update", *handle, "key", "300", "0", "0", "0", "0", "0", "0", "0", "value", "1", check=2)
        self.assertIn("next_key", json.loads(self.skep("map", "getnext", *handle, "-j", check=0).stdout))
        self.host.stdin.write("\n")
        self.host.stdin.close()
        self.assertEqual(self.host.wait(timeout=20), 0)

    def test_the_verbs_that_change_a_map_in_another_process(self):
        (table,) = self.mine(self.show("map"))
        handle = ("id", str(table["id"]))
        for n in range(20):
            self.skep("map", "update", *handle, "key", 1000 + n, "value", n, check=0)
        keys = [entry["formatted"]["key"] for entry in json.loads(self.skep("map", "dump", *handle, "-j", check=0).stdout)]
        self.assertEqual(len(keys), len(set(keys)))
        self.assertLessEqual(set(range(1000, 1020)), set(keys))
        self.assertIn("peek, pop and dequeue are for queue and stack maps, peek for ring buffers too", self.skep("map", "peek", *handle, check=1).stderr)
        self.assertIn("lives in it, as long as it runs", self.skep("map", "pin", *handle, "/sys/fs/bpf/x", check=1).stderr)
        self.skep("map", "freeze", *handle, check=0)
        self.assertEqual(self.show("map", *handle)["frozen"], 1)
        self.assertIn("frozen already", self.skep("map", "freeze", *handle, check=1).stderr)
        self.skep("map", "update", *handle, "key", "77", "value", "5", check=1)

    def test_a_host_runs_top_why_and_pictures(self):
        (program,) = self.mine(self.show("prog"))
        handle = ("id", str(program["id"]))
        (link,) = self.mine(self.show("link"))
        why = json.loads(self.skep("prog", "why", *handle, "-j", check=0).stdout)
        self.assertEqual([p["pid"] for p in why["processes"]], [self.host.pid])
        self.assertIn("counter.bpf.c", why["processes"][0]["command_line"])
        self.assertEqual([item["id"] for item in why["links"]], [link["id"]])
        sample = json.loads(self.skep("prog", "top", "interval", "0.2", "count", "1", "-j", check=0).stdout)
        (row,) = [p for p in sample["programs"] if p["id"] == program["id"]]
        self.assertEqual((row["pid"], row["run_cnt"]), (self.host.pid, program["run_cnt"]))
        self.assertIn("digraph", self.skep("prog", "visual", *handle, check=0).stdout)
        self.assertIn("<svg", self.skep("prog", "visual", *handle, "svg", check=0).stdout)
        (types,) = [b for b in self.show("btf") if b["id"] == program["btf_id"]]
        self.assertEqual((types["prog_ids"], types["map_ids"]), ([program["id"]], program["map_ids"]))
        self.assertIn("lives in it", self.skep("prog", "pin", *handle, "/sys/fs/bpf/x", check=1).stderr)
        self.assertIn("packet", self.skep("prog", "run", *handle, "data_in", self.write("packet", "x" * 64), check=2).stderr)

    def test_lines_are_counted(self):
        source = self.write("lines.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int lines(struct xdp_md *ctx) {
  unsigned char *p = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
  volatile int zeroes = 0;
  if (p + 64 > end)
    return XDP_DROP;
#pragma clang loop unroll(disable)
  for (int i = 0; i < 64; i++)
    if (p[i] == 0)
      zeroes += 1;
  return zeroes > 10 ? XDP_PASS : XDP_TX;
}
char _license[] SEC("license") = "GPL";
""")
        packet = self.directory / "zeroes.bin"
        packet.write_bytes(bytes(20) + bytes([1]) * 44)
        result = json.loads(self.skep("prog", "profile", "--lines", source, "input", packet, "repeat", 10, "-j", check=0).stdout)
        self.assertEqual(result["retval"], 2)
        count = {line["src"].strip(): line["count"] for line in result["lines"]}
        self.assertEqual(count["zeroes += 1;"], 200)
        self.assertEqual(count["if (p[i] == 0)"], 640)
        self.assertEqual(count["if (p + 64 > end)"], 10)
        self.assertEqual(max(c for c in count.values() if c is not None), 640)
        text = self.skep("prog", "profile", "--lines", source, "input", packet, check=0).stdout
        self.assertRegex(text, r"(?m)^ +20 +\d+  zeroes \+= 1;$")
        self.assertIn("expected program, input", self.skep("prog", "profile", "--lines", source, "nonsense", "1", check=2).stderr)
        self.assertIn("no program", self.skep("prog", "profile", "--lines", source, "program", "nobody", check=1).stderr)

    def test_counting_lines_changes_no_result(self):
        for name in ("branchy", "dispatch", "filter", "fnv", "log2", "maphash", "siphash", "strops"):
            source = SOURCE / "bench" / "programs" / f"{name}.c"
            plain = json.loads(self.skep("bench", source, "--engine", "interp", "--repeat", "1", "--json", check=0).stdout)
            counted = json.loads(self.skep("prog", "profile", "--lines", source, "-j", check=0).stdout)
            self.assertEqual(counted["retval"], plain["result"], name)
            self.assertTrue(all(line["count"] is not None for line in counted["lines"]), name)
            self.assertGreater(max(line["count"] for line in counted["lines"]), 0, name)

    def test_wrong_names(self):
        said = self.skep("prog", "show", "name", "no-such-program", check=1).stderr
        self.assertTrue("hello" in said or " more" in said, said)  # a busy machine has too many to name
        self.skep("prog", "show", "id", "x", check=2)
        self.skep("prog", "show", "nonsense", check=2)
        self.skep("map", "dump", check=2)

    def test_dead_hosts_leave_nothing(self):
        self.assertEqual(len(self.mine(self.show("prog"))), 1)
        self.host.kill()  # no chance to clean up
        self.host.wait()
        # The command lives on under the tracer, which lets go of skep's descriptors when it sees it gone.
        deadline = time.monotonic() + 10
        while self.sockets() and time.monotonic() < deadline:
            self.assertEqual(self.mine(self.show("prog")), [])
        self.assertEqual(self.sockets(), [], "the stale socket was removed")
        self.assertEqual(self.host.stdin.write("\n"), 1, "and the command still waits for its input")

    def sockets(self):
        return [p for p in pathlib.Path(self.environment["XDG_RUNTIME_DIR"]).rglob(f"{self.host.pid}.sock")]

    def test_another_user_cannot_connect(self):
        need(os.geteuid() == 0, "not root: this test needs a second user")
        (path,) = self.sockets()
        self.assertEqual(path.parent.stat().st_mode & 0o777, 0o700)
        path.parent.chmod(0o755)  # even when the directory lets them in
        self.addCleanup(path.parent.chmod, 0o700)
        path.parent.parent.chmod(0o755)
        path.chmod(0o777)
        code = f"import socket; s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect({str(path)!r}); s.sendall(b'\\0' * 64); print(len(s.recv(100)))"
        result = subprocess.run(["python3", "-c", code], text=True, capture_output=True, timeout=20, **demoted("nobody"))
        self.assertTrue(result.returncode != 0 or result.stdout.strip() == "0", result.stdout + result.stderr)

    def test_hostile_clients_do_not_disturb(self):
        (path,) = self.sockets()
        held = []
        for size in (0, 1, 3, 4, 64, 100_000):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(2)
            client.connect(str(path))
            try:
                client.sendall(os.urandom(size))
                client.sendall(struct.pack("<I", 0xFFFFFFFF) * 4)
            except OSError:
                pass
            held.append(client)
        for _ in range(300):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(0.2)
            try:
                client.connect(str(path))
            except OSError:
                pass
            held.append(client)
        for client in held[20:]:
            client.close()
        deadline = time.monotonic() + 20
        while not self.mine(self.show("prog")) and time.monotonic() < deadline:
            time.sleep(0.2)
        self.assertEqual(len(self.mine(self.show("prog"))), 1)
        for client in held:
            client.close()
        self.host.stdin.write("\n")
        self.host.stdin.close()
        self.assertEqual(self.host.wait(timeout=20), 0, "the program went on undisturbed")


class OtherMaps(Hosted):
    """Queues and program runs in another process."""

    def setUp(self):
        source = self.write("jobs.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_QUEUE); __uint(max_entries, 8); __uint(value_size, 4); } jobs SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __type(key, unsigned); __type(value, int); __uint(max_entries, 2); } cells SEC(".maps");
SEC("tracepoint/syscalls/sys_enter_execve") int add(void *ctx) {
  unsigned job = 7, key = 1;
  int *cell = bpf_map_lookup_elem(&cells, &key);
  if (cell) *cell -= 1;
  bpf_map_push_elem(&jobs, &job, 0);
  return 5;
}
char _license[] SEC("license") = "GPL";
""")
        self.host = self.start("run", source, "--", "sh", "-c", "echo ready; read x", stdin=subprocess.PIPE)
        self.addCleanup(self.host.stdin.close)
        self.assertEqual(self.host.stdout.readline(), "ready\n", self.host.stderr.read() if self.host.poll() is not None else "")
        self.maps = {m["name"]: ("id", str(m["id"])) for m in self.mine(self.show("map"))}

    def test_a_queue_in_another_process(self):
        jobs = self.maps["jobs"]
        while self.skep("map", "pop", *jobs).returncode == 0:
            pass
        self.assertIn("it is empty", self.skep("map", "peek", *jobs, check=1).stderr)
        for job in (1, 2, 300):
            self.skep("map", "push", *jobs, "value", job, check=0)
        self.assertEqual(self.skep("map", "peek", *jobs, check=0).stdout, "value: 01 00 00 00\n")
        popped = [json.loads(self.skep("map", "dequeue", *jobs, "-j", check=0).stdout)["value"][:2] for _ in range(3)]
        self.assertEqual(popped, [["0x01", "0x00"], ["0x02", "0x00"], ["0x2c", "0x01"]])

    def test_a_run_in_another_process(self):
        (program,) = self.mine(self.show("prog"))
        before = program.get("run_cnt", 0)
        context = self.directory / "context"
        context.write_bytes(bytes(64))
        while self.skep("map", "pop", *self.maps["jobs"]).returncode == 0:
            pass
        result = json.loads(self.skep("prog", "run", "id", str(program["id"]), "ctx_in", context, "repeat", 3, "-j", check=0).stdout)
        self.assertEqual(result["retval"], 5)
        self.assertEqual(self.show("prog", "id", str(program["id"]))["run_cnt"], before + 3)
        self.assertEqual(self.skep("map", "peek", *self.maps["jobs"], check=0).stdout, "value: 07 00 00 00\n")
        values = json.loads(self.skep("map", "lookup", *self.maps["cells"], "key", "1", check=0).stdout)["values"]
        self.assertLessEqual(sum(v["value"] for v in values), -3)
        self.assertIn("at most 100000 times", self.skep("prog", "run", "id", str(program["id"]), "ctx_in", context, "repeat", 100001, check=1).stderr)


if __name__ == "__main__":
    main()
