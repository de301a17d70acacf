"""Pinned objects for who may not list what others loaded: a descriptor takes no right to be asked, a pin only the file's."""
import json
import os
import pathlib
import pwd
import re
import shutil
import subprocess

from kernel_inspection import BPFTOOL, KernelInspection
from support import SKEP, main, need, need_clang

BPF = "+bpf"
NONE = ""

SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, __u64); __uint(max_entries, 8); } few_numbers SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(key_size, 4); __uint(value_size, 4); __uint(max_entries, 2); } few_tails SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_QUEUE); __uint(value_size, 4); __uint(max_entries, 4); } few_jobs SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } few_records SEC(".maps");
SEC("xdp") int few_packets(struct xdp_md *ctx) {
  __u32 key = 1;
  __u64 *n = bpf_map_lookup_elem(&few_numbers, &key);
  if (n) __sync_fetch_and_add(n, 1);
  bpf_ringbuf_output(&few_records, &key, sizeof key, 0);
  bpf_map_push_elem(&few_jobs, &key, 0);
  bpf_tail_call(ctx, &few_tails, 0);
  return XDP_PASS;
}
char _license[] SEC("license") = "GPL";
"""
CALLS = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("raw_tracepoint/sys_enter") int few_calls(void *ctx) { return 0; }
char _license[] SEC("license") = "GPL";
"""


class Pinned(KernelInspection):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        need(shutil.which("setpriv"), "setpriv (util-linux), which takes capabilities away")
        need_clang()

    def setUp(self):
        self.programs, self.maps, self.links = (self.pins / name for name in ("programs", "maps", "links"))
        self.skep("prog", "loadall", self.write("few.bpf.c", SOURCE), self.programs, "pinmaps", self.maps, check=0)
        self.skep("prog", "loadall", self.write("calls.bpf.c", CALLS), self.links, "autoattach", check=0)
        self.addCleanup(lambda: [shutil.rmtree(place, ignore_errors=True) for place in (self.programs, self.maps, self.links)])
        self.program, self.link = ("pinned", self.programs / "few_packets"), ("pinned", self.links / "few_calls")
        self.numbers = ("pinned", self.maps / "few_numbers")
        self.skep("map", "update", *self.numbers, "key", "1", "value", "40", check=0)

    def few(self, capabilities, *arguments, user=None, check=None, tool=SKEP):
        """A command of a process that has these capabilities and no others."""
        line = [f"--{kind}=-all" + (f",{capabilities}" if capabilities else "") for kind in ("inh-caps", "bounding-set")]
        if user:
            entry = pwd.getpwnam(user)
            line += [f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
            line[1:2] = [f"--ambient-caps=-all" + (f",{capabilities}" if capabilities else "")]  # who is not root has what is ambient
        result = subprocess.run(["setpriv", *line, tool, *map(str, arguments)], text=True, capture_output=True, cwd=self.directory,
                                env=dict(self.environment, XDG_RUNTIME_DIR=""), timeout=60)
        need("setpriv:" not in result.stderr, "this process may not drop capabilities: " + result.stderr)
        if check is not None:
            self.assertEqual(result.returncode, check, (capabilities, arguments, result.stdout, result.stderr))
        return result

    def few_json(self, capabilities, *arguments, **options):
        return json.loads(self.few(capabilities, *arguments, "-j", check=0, **options).stdout)

    def test_facts_are_those_that_root_sees(self):
        plain = lambda facts: {key: value for key, value in facts.items() if key not in ("pids", "run_cnt", "run_time_ns", "recursion_misses", "loaded_at")}
        for verb, handle in (("prog", self.program), ("map", self.numbers), ("link", self.link)):
            whole = plain(self.json(verb, "show", *handle))
            for capabilities in (BPF, NONE):
                told = self.few(capabilities, verb, "show", *handle, "-j", check=0)
                facts, hidden = plain(json.loads(told.stdout)), set()
                if verb == "prog" and capabilities == NONE:
                    hidden = {"bytes_xlated", "jited", "bytes_jited"}
                    self.assertEqual(told.stderr, "skep: programs of 0 bytes: the kernel tells the size of their code only to who has CAP_BPF\n")
                else:
                    self.assertEqual(told.stderr, "", (capabilities, verb))
                self.assertEqual({k: v for k, v in facts.items() if k not in hidden}, {k: v for k, v in whole.items() if k not in hidden}, (capabilities, verb))
                if BPFTOOL:
                    self.same(facts, self.few_json(capabilities, verb, "show", *handle, tool=BPFTOOL), (capabilities, verb))
            self.assertEqual(whole["pinned"], [str(handle[1])])

    def test_maps_are_read_and_written(self):
        for capabilities in (BPF, NONE):
            shown = self.few(capabilities, "map", "dump", *self.numbers, "-j", check=0)
            self.assertEqual([entry["value"][0] for entry in json.loads(shown.stdout)], ["0x28"])
            self.assertIn("shown as bytes", shown.stderr)  # types are opened by their id alone
            self.assertIn("lacks CAP_SYS_ADMIN", shown.stderr)
            self.few(capabilities, "map", "update", *self.numbers, "key", "2", "value", "7", check=0)
            self.assertEqual(self.few_json(capabilities, "map", "lookup", *self.numbers, "key", "2")["value"][0], "0x07")
            self.assertIn(self.few_json(capabilities, "map", "getnext", *self.numbers)["next_key"][0], ("0x01", "0x02"))
            self.few(capabilities, "map", "delete", *self.numbers, "key", "2", check=0)
            self.assertIn("no such key", self.few(capabilities, "map", "delete", *self.numbers, "key", "2", check=1).stderr)
            jobs = ("pinned", self.maps / "few_jobs")
            self.few(capabilities, "map", "push", *jobs, "value", "5", check=0)
            self.assertEqual(self.few(capabilities, "map", "pop", *jobs, check=0).stdout, "value: 05 00 00 00\n")
            self.few(capabilities, "map", "update", "pinned", self.maps / "few_tails", "key", "1", "value", *self.program, check=0)
            again = self.maps / ("again_" + (capabilities[1:] or "none"))
            self.few(capabilities, "map", "pin", *self.numbers, again, check=0)
            self.assertIn(str(again), self.json("map", "show", *self.numbers)["pinned"])
        tail = bytes(int(byte, 16) for byte in self.few_json(NONE, "map", "lookup", "pinned", self.maps / "few_tails", "key", "1")["value"])
        self.assertEqual(int.from_bytes(tail, "little"), self.json("prog", "show", *self.program)["id"])
        self.few(NONE, "map", "freeze", *self.numbers, check=0)
        self.assertIn("frozen", self.few(NONE, "map", "update", *self.numbers, "key", "1", "value", "3", check=1).stderr)

    def test_programs_are_run_and_their_code_is_shown_to_who_may_see_it(self):
        packet = self.write("packet", "x" * 64)
        ran = self.few_json("+bpf,+net_admin", "prog", "run", *self.program, "data_in", packet)
        self.assertEqual(ran["retval"], 2)
        self.assertEqual([r["value"][0] for r in self.few_json(BPF, "map", "peek", "pinned", self.maps / "few_records")], ["0x01"])
        # Who may not see addresses of the kernel sees no offsets of its functions.
        code = lambda text: [line.partition("call ")[0] for line in text.splitlines() if re.match(r" *\d+: ", line)]
        whole = self.skep("prog", "dump", "xlated", *self.program, check=0).stdout
        told = self.few(BPF, "prog", "dump", "xlated", *self.program, check=0)
        self.assertEqual(code(told.stdout), code(whole))
        self.assertGreater(len(code(whole)), 20)
        self.assertIn("prototypes and C lines are not shown", told.stderr)
        self.assertIn("digraph", self.few(BPF, "prog", "visual", *self.program, check=0).stdout)
        self.few(BPF, "diff", *self.program, *self.program, check=0)
        self.assertIn("does not show its instructions", self.few(NONE, "prog", "dump", "xlated", *self.program, check=1).stderr)
        self.assertIn("lacks CAP_SYS_ADMIN", self.few(BPF, "btf", "dump", "prog", *self.program, check=1).stderr)
        self.few(BPF, "prog", "pin", *self.program, self.programs / "again", check=0)
        self.assertEqual(len(self.json("prog", "show", *self.program)["pinned"]), 2)

    def test_links_are_pinned_and_detached(self):
        self.few(BPF, "link", "pin", *self.link, self.links / "again", check=0)
        self.assertEqual(len(self.json("link", "show", *self.link)["pinned"]), 2)
        refused = self.few(BPF, "link", "detach", *self.link, check=1).stderr  # raw tracepoints are none that the kernel detaches
        self.assertIn("the kernel cannot detach raw_tracepoint links", refused)

    def test_programs_are_attached_and_iterated_by_their_pins(self):
        need(shutil.which("unshare"), "unshare (util-linux): no network namespace of our own")
        few = [f"--{kind}=-all,+bpf,+net_admin" for kind in ("inh-caps", "bounding-set")]
        script = f"setpriv {' '.join(few)} {SKEP} net attach xdpgeneric pinned {self.program[1]} dev lo && {SKEP} net show -j"
        result = subprocess.run(["unshare", "-n", "sh", "-c", script], text=True, capture_output=True, env=self.environment, timeout=60)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual([xdp["id"] for xdp in json.loads(result.stdout)[0]["xdp"]], [self.json("prog", "show", *self.program)["id"]])
        source = self.write("each.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct seq_file; struct bpf_iter_meta { struct seq_file *seq; } __attribute__((preserve_access_index));
struct bpf_map; struct bpf_iter__bpf_map_elem { struct bpf_iter_meta *meta; struct bpf_map *map; void *key; void *value; } __attribute__((preserve_access_index));
SEC("iter/bpf_map_elem") int each(struct bpf_iter__bpf_map_elem *ctx) {
  static const char text[] = "entry\\n";
  if (ctx->key) bpf_seq_write(ctx->meta->seq, text, 6);
  return 0;
}
char _license[] SEC("license") = "GPL";
""")
        self.skep("prog", "load", source, self.programs / "each", check=0)
        self.few("+bpf,+perfmon", "iter", "pin", "pinned", self.programs / "each", self.links / "entries", "map", *self.numbers, check=0)
        self.assertEqual((self.links / "entries").read_text(), "entry\n")

    def test_what_is_loaded_is_attached_and_pinned_without_the_right_to_list(self):
        self.skep("compile", self.directory / "calls.bpf.c", "-o", self.directory / "calls.o", check=0)
        made = self.few("+bpf,+perfmon", "prog", "loadall", "calls.o", self.links / "more", "autoattach", check=0)
        self.addCleanup(shutil.rmtree, self.links / "more", ignore_errors=True)
        self.assertEqual(made.stderr, "")
        link = self.json("link", "show", "pinned", self.links / "more" / "few_calls")
        self.assertEqual((link["type"], link["tp_name"]), ("raw_tracepoint", "sys_enter"))
        self.assertNotEqual(link["prog_id"], self.json("link", "show", *self.link)["prog_id"])
        shared = self.few("+bpf,+net_admin,+perfmon", "prog", "load", self.directory / "few.bpf.c", self.programs / "shared", "map", "name", "few_numbers", *self.numbers, check=0)
        self.assertEqual(shared.stderr, "")
        self.assertIn(self.json("map", "show", *self.numbers)["id"], self.json("prog", "show", "pinned", self.programs / "shared")["map_ids"])

    def test_what_is_pinned_is_found_by_its_name_and_number_too(self):
        id = self.json("map", "show", *self.numbers)["id"]
        for handle in (("name", "few_numbers"), ("id", id)):
            told = self.few(BPF, "map", "show", *handle, "-j", check=0)
            self.assertEqual(json.loads(told.stdout)["id"], id)
            self.assertEqual(self.few_json(NONE, "map", "lookup", *handle, "key", "1")["value"][0], "0x28")
        self.assertEqual(self.few_json(BPF, "prog", "show", "tag", self.json("prog", "show", *self.program)["tag"])["name"], "few_packets")
        listed = self.few(BPF, "map", "show", "-j", check=0)
        self.assertIn(id, [facts["id"] for facts in json.loads(listed.stdout)])
        self.assertRegex(listed.stderr, r"\Askep: of the kernel's objects only those are shown that are pinned .* lacks CAP_SYS_ADMIN.*\n\Z")
        (self.maps / "few_numbers").unlink()  # the program holds it still
        lost = self.few(BPF, "map", "show", "id", id, check=1).stderr
        self.assertIn(f"no map with id {id}", lost)
        self.assertIn("lacks CAP_SYS_ADMIN", lost)

    def test_whose_file_it_is_decides(self):
        nobody = pwd.getpwnam("nobody")
        for place in (self.pins, self.maps):
            place.chmod(0o755)
        pathlib.Path("/sys/fs/bpf").chmod(0o755)  # this test's own mount
        path = self.maps / "few_numbers"
        path.chmod(0o600)
        shut = self.few(BPF, "map", "show", *self.numbers, user="nobody", check=1)
        self.assertIn("this process may not open it: it is of user 0 and group 0, mode 0600", shut.stderr)
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
        for capabilities in (BPF, NONE):
            self.assertEqual(self.few_json(capabilities, "map", "lookup", *self.numbers, "key", "1", user="nobody")["value"][0], "0x28")
            self.few(capabilities, "map", "update", *self.numbers, "key", "1", "value", "40", user="nobody", check=0)
        path.chmod(0o400)
        for line in (("show",), ("dump",), ("lookup", "key", "1")):
            self.few(NONE, "map", line[0], *self.numbers, *line[1:], user="nobody", check=0)
        for line in (("update", "key", "1", "value", "2"), ("delete", "key", "1"), ("freeze",)):
            self.assertIn("open for reading only", self.few(NONE, "map", line[0], *self.numbers, *line[1:], user="nobody", check=1).stderr)
        self.assertEqual(self.json("map", "lookup", *self.numbers, "key", "1")["value"][0], "0x28")
        self.maps.chmod(0o700)
        self.assertIn("Permission denied", self.few(BPF, "map", "show", *self.numbers, user="nobody", check=1).stderr)

    def test_what_is_pinned_there_is_told(self):
        for capabilities in (None, BPF):
            run = (lambda *line: self.skep(*line, check=1)) if capabilities is None else (lambda *line: self.few(capabilities, *line, check=1))
            for verb, path, words in (("map", self.programs / "few_packets", "no map is pinned at {}: a program is"), ("prog", self.maps / "few_numbers", "no program is pinned at {}: a map is"),
                                      ("prog", self.links / "few_calls", "no program is pinned at {}: a link is"), ("link", self.maps / "few_numbers", "no link is pinned at {}: a map is"),
                                      ("map", self.maps, "no map is pinned at {}: it is a directory"), ("map", self.maps / "none", "no map is pinned at {}: there is no such file"),
                                      ("link", "/etc/passwd", "no link is pinned at {}: the file is in no bpffs"), ("prog", self.maps / "few_numbers" / "x", "there is no such file")):
                self.assertIn(words.format(path), run(verb, "show", "pinned", path).stderr)


if __name__ == "__main__":
    main()
