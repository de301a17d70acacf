"""bpftool's grammar beyond the facts of objects: options before the verb, holders, parts of types, macros, batches."""
import json
import os
import re
import shutil
import subprocess
import unittest

from kernel_inspection import BPFTOOL, KernelInspection, bpftool
from support import SKEP, need, need_clang


class Grammar(KernelInspection):
    def setUp(self):
        need_clang()
        self.home, self.maps = self.pins / "grammar", self.pins / "grammar_maps"
        source = self.write("grammar.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct flow { __u32 from, to; };
struct total { __u64 packets, bytes; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, struct flow); __type(value, struct total); __uint(max_entries, 4); } totals SEC(".maps");
SEC("xdp") int add(struct xdp_md *ctx) {
  struct flow key = {};
  struct total *total = bpf_map_lookup_elem(&totals, &key);
  if (total) total->packets++;
  return XDP_PASS;
}
char _license[] SEC("license") = "GPL";
""")
        self.skep("prog", "loadall", source, self.home, "pinmaps", self.maps, check=0)
        self.addCleanup(lambda: [path.unlink() for place in (self.home, self.maps) for path in place.iterdir()])
        self.program, self.map = ("pinned", self.home / "add"), ("pinned", self.maps / "totals")

    def test_options_may_stand_before_the_verb(self):
        # When it was loaded is computed from the time since boot, and may be a second more or less.
        shown = lambda *line: re.sub(r'"loaded_at":\d+', "", self.skep(*line, check=0).stdout)
        after = shown("prog", "show", *self.program, "-j")
        for line in (("-j", "prog", "show"), ("prog", "-j", "show"), ("--json", "-f", "prog", "list"), ("-n", "-j", "prog", "show")):
            self.assertEqual(shown(*line, *self.program), after)
        self.assertIn("\n    \"type\"", self.skep("-p", "prog", "show", *self.program, check=0).stdout)
        self.assertIn("no verb '-x'", self.skep("-x", "prog", "show", check=2).stderr)
        self.assertIn("no verb '-j'", self.skep("-j", check=2).stderr)

    def test_errors_are_bpftools_in_json(self):
        # Our sentences are longer; where they stand and what they are is the same: who asked for JSON reads one stream.
        outside = self.write("plain", "no object")
        # What else is loaded is told as well, and others load and unload meanwhile.
        alike = lambda text: re.sub(r'; loaded: [^"\n]*|: none is loaded', "", text)
        numbers = self.make_map("errors", "hash", 4, 4, 2)
        waiting = self.make_map("errors_queue", "queue", 0, 4, 2)
        for line in (("prog", "show", "id", 4294967295), ("prog", "show", "tag", "zz"), ("prog", "show", "pinned", outside), ("prog", "show", "pinned", self.map[1]),
                     ("prog", "show", "id", "x"), ("prog", "show", "nothing"), ("prog", "dump", "xlated", "id", 4294967295), ("prog", "dump", "nothing", *self.program),
                     ("prog", "load", self.directory / "none.o", self.pins / "x"), ("prog", "pin", "id", 4294967295, self.pins / "x"),
                     ("map", "show", "id", 4294967295), ("map", "dump", "id", 4294967295), ("map", "lookup", *numbers, "key", "1", "0", "0", "0"), ("map", "lookup", *numbers, "key", "1", "2"),
                     ("map", "lookup", *numbers), ("map", "update", *numbers, "key", *"1000"), ("map", "update", *numbers, "key", *"1000", "value", *"2000", "exist"),
                     ("map", "delete", *numbers, "key", *"9000"), ("map", "getnext", *numbers, "key", *"1000"), ("map", "pop", *waiting),
                     ("map", "create", numbers[1], "type", "hash", "key", "4", "value", "4", "entries", "1", "name", "x"),
                     ("map", "create", self.pins / "x", "type", "nothing", "key", "4", "value", "4", "entries", "1", "name", "x"), ("map", "pin", *numbers, numbers[1]),
                     ("link", "show", "id", 4294967295), ("link", "show", "pinned", self.map[1]), ("link", "detach", "id", 4294967295),
                     ("btf", "show", "id", 4294967295), ("btf", "dump", "file", self.directory / "none.o"),
                     ("cgroup", "show", self.directory / "none"), ("net", "show", "dev", "nothing0"), ("net", "attach", "xdp", "id", 4294967295, "dev", "lo"),
                     ("feature", "probe", "dev", "nothing0"), ("struct_ops", "show", "id", 4294967295), ("iter", "pin", self.directory / "none.o", self.pins / "x"),
                     ("gen", "skeleton", self.directory / "none.o"), ("gen", "object", self.directory / "out.o", self.directory / "none.o"), ("batch", "file", self.directory / "none")):
            ours = self.skep(*line, "-j")
            self.assertIn(ours.returncode, (1, 2), line)
            self.assertEqual(ours.stderr, "", line)
            answer = json.loads(ours.stdout)
            if answer is not None:
                self.assertEqual((list(answer), type(answer["error"])), (["error"], str), line)
                self.assertEqual(alike(self.skep("-p", *line).stdout), '{\n    "error": ' + alike(json.dumps(answer["error"], ensure_ascii=False)) + "\n}\n")
                self.assertEqual(alike(self.skep(*line).stderr), alike(f"skep: {answer['error']}\n"))
            if BPFTOOL:
                theirs = subprocess.run([BPFTOOL, "-j", *map(str, line)], text=True, capture_output=True)
                self.assertNotEqual(theirs.returncode, 0, line)
                shape = lambda value: value if value is None else sorted(value)
                self.assertEqual(shape(answer), shape(json.loads(theirs.stdout)), line)

    def test_errors_of_other_verbs_in_json(self):
        none = self.directory / "none.c"
        for status, line in ((2, ("-j", "nothing")), (2, ("prog", "fly", "-j")), (2, ("prog", "-j")), (2, ("diff", none, none, "-j")), (2, ("verify", none, "--json")), (1, ("test", none, "-j")),
                             (1, ("bench", none, "-j")), (2, ("verify", "-j")), (2, ("bench", none, "--engine", "none", "--json")), (1, ("run", none, "-j", "--", "true")),
                             (2, ("run", none, "-j", "--")), (2, ("opensnoop", "-j", "--backend", "user")), (2, ("opensnoop", "-f", "O_NOTHING", "-j")), (2, ("opensnoop", "-j", "-d", "x")), (2, ("syscount", "-j", "-e", "EX")),
                             (127, ("opensnoop", "-j", "--backend", "user", "--", self.directory / "no_command"))):
            result = self.skep(*line, check=status)
            self.assertEqual(list(json.loads(result.stdout)), ["error"], line)
            self.assertNotIn(json.loads(result.stdout)["error"], result.stderr, line)
        self.assertEqual(self.skep("opensnoop", "-d", "x", "--", "echo", "-j", check=2).stdout, "", "what follows -- is the command's")

    def test_holders_are_named(self):
        holder = self.start("run", self.quiet(), "--backend", "kernel", "--", "sleep", "30")
        holder.stderr.readline()
        mine = lambda verb: [item for item in self.json(verb, "show") if {"pid": holder.pid, "comm": "skep"} in item.get("pids", [])]
        for _ in range(100):
            if mine("link"):
                break
        (program,), (link,) = mine("prog"), mine("link")
        self.assertEqual((program["name"], link["prog_id"]), ("quiet", program["id"]))
        self.assertIn(program["btf_id"], [item["id"] for item in mine("btf")])
        self.assertIn(f"\tpids skep({holder.pid})\n", self.skep("prog", "show", "id", program["id"], check=0).stdout)
        self.assertNotIn("pids", self.json("prog", "show", *self.program), "only its pin holds it")

    def test_types_of_a_maps_keys_and_values(self):
        id = self.json("map", "show", *self.map)["btf_id"]
        for part, structures in (((), ["flow", "total"]), (("key",), ["flow"]), (("value",), ["total"]), (("kv",), ["flow", "total"]), (("all",), None)):
            ours = self.json("btf", "dump", "map", *self.map, *part)["types"]
            if structures is None:
                self.assertEqual(ours, self.json("btf", "dump", "id", id)["types"])
            else:
                self.assertEqual([kind["name"] for kind in ours], structures)
            if BPFTOOL:
                self.assertEqual(ours, bpftool("btf", "dump", "map", *self.map, *part)["types"], part)
        text = self.skep("btf", "dump", "map", *self.map, "key", "format", "c", check=0).stdout
        self.assertIn("struct flow {", text)
        self.assertNotIn("struct total {", text)
        self.assertEqual(self.json("btf", "dump", "id", id), self.json("btf", "dump", "prog", *self.program))
        (total,) = [kind for kind in self.json("btf", "dump", "id", id)["types"] if kind["name"] == "total"]
        self.assertEqual(self.json("btf", "dump", "id", id, "root_id", total["id"])["types"], [total])
        plain = self.make_map("grammar_plain", "hash", 4, 4, 1)
        self.assertIn("carries no types", self.skep("btf", "dump", "map", *plain, check=1).stderr)
        self.assertIn("numbered 1 to", self.skep("btf", "dump", "id", id, "root_id", 999999, check=1).stderr)
        self.assertIn("is not a number", self.skep("btf", "dump", "id", "first", check=2).stderr)
        self.assertIn("no types with id", self.skep("btf", "dump", "id", 4294967295, check=1).stderr)

    def test_c_of_chosen_kernel_types_compiles(self):
        (task,) = [line for line in self.skep("btf", "dump", "vmlinux", check=0).stdout.splitlines() if re.match(r"\[\d+\] STRUCT 'list_head' ", line)]
        text = self.skep("btf", "dump", "vmlinux", "format", "c", "root_id", task[1:task.index("]")], check=0).stdout
        self.assertLess(len(text), 2000)
        source = self.write("chosen.c", text + "int size[sizeof(struct list_head) == 2 * sizeof(void *) ? 1 : -1];\n")
        subprocess.run([shutil.which("clang"), "-target", "bpf", "-c", source, "-o", os.devnull], check=True)

    def test_types_that_continue_others(self):
        base, split = self.directory / "base.btf", self.directory / "split.btf"
        base.write_bytes(self.btf([(1, 0x01000000, 4, (32,))], b"\0int\0"))
        # Id 2 is the first of its own, a typedef whose name is behind the base's five bytes of strings.
        split.write_bytes(self.btf([(6, 0x08000000, 1, ())], b"\0u32\0"))
        self.assertEqual(self.skep("-B", base, "btf", "dump", "file", split, check=2).returncode, 2)  # -B is btf's own
        types = self.json("btf", "dump", "file", split, "-B", base)["types"]
        self.assertEqual([(kind["id"], kind["name"], kind["type_id"]) for kind in types], [(2, "u32", 1)])
        self.assertIn("expected a file", self.skep("btf", "dump", "file", split, "-B", check=2).stderr)
        split.write_bytes(b"\x9f\xeb\1\0" + b"\xff" * 20)
        self.assertEqual(self.skep("btf", "dump", "file", split, "-B", base, check=1).stdout, "")

    @staticmethod
    def btf(types, strings):
        body = b"".join(b"".join(number.to_bytes(4, "little") for number in (name, info, size, *more)) for name, info, size, more in types)
        head = (24).to_bytes(4, "little") + b"".join(n.to_bytes(4, "little") for n in (0, len(body), len(body), len(strings)))
        return b"\x9f\xeb\x01\x00" + head + body + strings

    def test_features_as_macros(self):
        header = self.directory / "features.h"
        header.write_text(self.skep("feature", "probe", "macros", "prefix", "MY_", check=0).stdout)
        source = self.write("uses.c", '#include "features.h"\n#ifndef MY_HAVE_XDP_PROG_TYPE\n#error none\n#endif\n'
                            "int yes = MY_HAVE_PROG_TYPE_HELPER(xdp, bpf_redirect), no = MY_HAVE_PROG_TYPE_HELPER(xdp, bpf_get_stackid);\n")
        text = subprocess.run([shutil.which("clang"), "-E", "-P", source], check=True, text=True, capture_output=True).stdout
        self.assertIn("int yes = 1, no = 0;", text)
        defined = lambda text: set(re.findall(r"^#define (\S+(?: \d+)?)$", text, re.MULTILINE))
        if BPFTOOL:
            theirs = subprocess.run([BPFTOOL, "feature", "probe", "macros", "prefix", "MY_"], text=True, capture_output=True, check=True).stdout
            # See test_features of inspect_places for the four types that bpftool 7.1 asks for in another way; helpers of
            # types that it does not load it calls present, and of later kernels it knows nothing.
            differ = r"_(TRACING|EXT|LSM|STRUCT_OPS)_PROG_TYPE|__HELPER_"
            self.assertEqual({line for line in defined(theirs) - defined(header.read_text()) if not re.search(differ, line)}, set())
        self.assertIn("cannot be asked", json.loads(self.skep("feature", "probe", "macros", "-j", check=2).stdout)["error"])
        self.assertIn("bpf_trace_printk", self.json("feature", "probe", "full")["helpers"]["xdp_available_helpers"])

    def test_features_of_a_device(self):
        ours = self.json("feature", "probe", "dev", "lo")
        self.assertEqual((ours["program_types"], ours["map_types"]), ({"have_sched_cls_prog_type": False, "have_xdp_prog_type": False}, {"have_hash_map_type": False, "have_array_map_type": False}))
        if BPFTOOL:
            self.same(ours, {k: v for k, v in bpftool("feature", "probe", "dev", "lo").items() if k != "misc"}, "dev lo")
        self.assertIn("no such network device", self.skep("feature", "probe", "dev", "nothing0", check=1).stderr)
        self.assertIn("dev: expected a network device", self.skep("net", "show", "dev", check=2).stderr)

    def test_features_without_privileges(self):
        with open("/proc/sys/kernel/unprivileged_bpf_disabled") as setting:
            need(setting.read().strip() != "0", "unprivileged users may load programs here")
        self.assertIn("unprivileged_bpf_disabled", self.skep("feature", "probe", "unprivileged", check=1).stderr)

    def test_an_iterator_is_loaded_from_its_file(self):
        source = self.write("maps.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct seq_file; struct bpf_iter_meta { struct seq_file *seq; } __attribute__((preserve_access_index));
struct bpf_map; struct bpf_iter__bpf_map { struct bpf_iter_meta *meta; struct bpf_map *map; } __attribute__((preserve_access_index));
SEC("?iter/bpf_map") int each(struct bpf_iter__bpf_map *ctx) {
  static const char text[] = "map\\n";
  if (ctx->map) bpf_seq_write(ctx->meta->seq, text, 4);
  return 0;
}
char _license[] SEC("license") = "GPL";
""")
        path = self.pins / "grammar_maps_list"
        self.skep("iter", "pin", source, path, check=0)
        self.addCleanup(path.unlink)
        self.assertRegex(path.read_text(), r"\A(map\n)+\Z")
        self.assertIn("No such file", self.skep("iter", "pin", self.directory / "none.o", self.pins / "x", check=1).stderr)

    def test_batches(self):
        lines = self.write("lines", f"""
            prog dump xlated {' '.join(map(str, self.program))}   # the first
            map show \\
              {self.map[0]} "{self.map[1]}"
        """)
        both = self.skep("batch", "file", lines, check=0)
        self.assertEqual(both.stdout, self.skep("prog", "dump", "xlated", *self.program).stdout + self.skep("map", "show", *self.map).stdout)
        self.assertIn("processed 2 commands", both.stderr)
        answers = self.json("batch", "file", lines)
        self.assertEqual(answers, [{"command": ["prog", "dump", "xlated", *map(str, self.program)], "output": self.json("prog", "dump", "xlated", *self.program)},
                                   {"command": ["map", "show", *map(str, self.map)], "output": self.json("map", "show", *self.map)}])
        failed = self.skep("batch", "file", "-", "-j", check=1, input="link show\nprog show name no_such_program_\nmap show\n")
        self.assertEqual([list(answer["output"]) == ["error"] for answer in json.loads(failed.stdout)], [False, True])
        self.assertIn("no program with name no_such_program_", json.loads(failed.stdout)[1]["output"]["error"])
        for line, words in (("compile x.c -o x.o", "has no answer in JSON"), ("batch file -", "no verb 'batch' for a batch"), ("prog", "nothing is asked for")):
            (answer,) = json.loads(self.skep("batch", "file", "-", "-j", check=2, input=line).stdout)
            self.assertIn(words, answer["output"]["error"])
        self.assertIn("-:1: this command failed", self.skep("batch", "file", "-", check=1, input="prog show name no_such_program_").stderr)
        for text, message in (("prog 'show\n", "the quote ' does not end"), ("batch file -\n", "no verb 'batch' for a batch"), ("\\\n" * 3 + "x" * 70000, "more than")):
            self.assertIn(message, subprocess.run([SKEP, "batch", "file", "-"], input=text, text=True, capture_output=True, env=self.environment).stderr)
        self.assertIn("No such file", self.skep("batch", "file", self.directory / "none", check=1).stderr)


if __name__ == "__main__":
    unittest.main()
