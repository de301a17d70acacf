"""skep verify and skep compile: verdicts with their reasons, objects that any loader takes."""
import json
import shutil
import subprocess
import unittest

from support import EXAMPLES, Case, can_use_kernel_bpf, main, need, need_clang

HEADER = '#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nchar LICENSE[] SEC("license") = "GPL";\n'
HASH = "struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, __u64); __uint(max_entries, 16); } counts SEC(\".maps\");\n"

# Each: what goes wrong, the program, the line that must be named, words that must be in the reason or the advice.
REFUSED = [
    ("a look-up's result used without a check",
     HASH + 'SEC("tracepoint/syscalls/sys_enter_openat")\nint p(void *ctx) {\n  __u32 key = 1;\n  __u64 *value = bpf_map_lookup_elem(&counts, &key);\n  *value += 1;\n  return 0;\n}\n',
     "*value += 1", "null"),
    ("an index that nothing bounds",
     "struct { __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, char[16]); __uint(max_entries, 1); } table SEC(\".maps\");\n"
     'SEC("tracepoint/syscalls/sys_enter_openat")\nint p(void *ctx) {\n  __u32 key = 0;\n  char *value = bpf_map_lookup_elem(&table, &key);\n  if (!value) return 0;\n'
     "  __u32 index = bpf_get_prandom_u32();\n  value[index] = 1;\n  return 0;\n}\n",
     "value[index] = 1", "16"),
    ("a packet read before its end is known",
     'SEC("xdp")\nint p(struct xdp_md *ctx) {\n  unsigned char *data = (void *)(long)ctx->data;\n  return data[12] == 8 ? XDP_PASS : XDP_DROP;\n}\n',
     "data[12]", "data_end"),
    ("a loop without an end",
     'SEC("tracepoint/syscalls/sys_enter_openat")\nint p(void *ctx) {\n  volatile int x = 1;\n  while (x) x = 1;\n  return 0;\n}\n',
     "", "loop"),
    ("kernel memory read directly",
     'SEC("raw_tracepoint/sys_enter")\nint p(struct bpf_raw_tracepoint_args *ctx) {\n  __u64 *regs = (void *)ctx->args[0];\n  return regs[4];\n}\n',
     "regs[4]", "probe_read"),
]


class Verify(Case):
    @classmethod
    def setUpClass(cls):
        need_clang()
        super().setUpClass()

    def test_names_in_an_object_are_no_orders_to_the_terminal(self):
        name, taken = "clears_the_screen", "clears_\x1b[2Jscreen"
        source = self.write("named.bpf.c", HEADER + f'SEC("xdp") int {name}(struct xdp_md *ctx) {{ return ctx->ingress_ifindex / 3; }}\n')
        made = self.directory / "named.o"
        self.skep("compile", source, "-o", made, check=0)
        self.assertEqual(len(name), len(taken))
        made.write_bytes(made.read_bytes().replace(name.encode(), taken.encode()))
        for arguments in (("disasm", made), ("verify", made), ("bench", made, "--repeat", "1"), ("test", made), ("diff", made, made),
                          ("btf", "dump", "file", made), ("btf", "dump", "file", made, "format", "c"), ("gen", "skeleton", made)):
            result = self.skep(*arguments)
            self.assertNotRegex(result.stdout + result.stderr, "[\x00-\x08\x0b-\x1f\x7f-\x9f]", arguments)
        self.assertIn(r"clears_\x1b[2Jscreen", self.skep("disasm", made, check=0).stdout)

    def test_accepted(self):
        for example in sorted(EXAMPLES.glob("*.bpf.c")):
            with self.subTest(example=example.name):
                result = self.skep("verify", example, "--json", check=0)
                verdicts = [json.loads(line) for line in result.stdout.splitlines()]
                self.assertGreater(len(verdicts), 0)
                for verdict in verdicts:
                    self.assertTrue(verdict["accepted"])
                    self.assertGreater(verdict["insns_processed"], 0)
                    self.assertGreater(verdict["time_ns"], 0)
                    self.assertIsNone(verdict["reason"])
                self.assertIn("accepted", self.skep("verify", example, check=0).stdout)

    def test_refused_with_line_reason_and_advice(self):
        for what, text, line, words in REFUSED:
            with self.subTest(what=what):
                path = self.write("refused.bpf.c", HEADER + text)
                verdict = json.loads(self.skep("verify", path, "--json", check=1).stdout)
                self.assertFalse(verdict["accepted"])
                self.assertRegex(verdict["reason_id"], r"^[a-z0-9_]+$")
                self.assertIn(line, verdict["source"]["text"])
                self.assertEqual((HEADER + text).splitlines()[verdict["source"]["line"] - 1].strip(), verdict["source"]["text"].strip())
                shown = self.skep("verify", path, check=1).stdout
                self.assertIn("refused.bpf.c:", shown)
                self.assertIn(line, shown)
                self.assertIn(words.lower(), (verdict["reason"] + verdict["advice"] + verdict["cause"]).lower(), shown)
                self.assertLessEqual(len(shown.splitlines()), 25)

    def test_a_refusal_tells_its_story_and_a_change_that_verifies(self):
        what, text, line, _ = REFUSED[0]
        source = HEADER + text
        path = self.write("story.bpf.c", source)
        verdict = json.loads(self.skep("verify", path, "--json", check=1).stdout)
        self.assertEqual((verdict["id"], verdict["reason_id"], verdict["family"]), ("V022", "maybe_null", "null"))
        self.assertEqual(verdict["variable"], {"name": "value", "type": "__u64 *"})
        cause = next(e for e in verdict["events"] if e["is_cause"])
        self.assertIn("bpf_map_lookup_elem", cause["source"]["text"])
        self.assertEqual(verdict["remedy"], "check_null")
        self.assertTrue(verdict["fix"]["verified"])
        self.assertEqual((self.directory / "story.bpf.c").read_text(), source, "the file is never written")
        mended = [l[1:] for l in verdict["fix"]["diff"].splitlines() if l.startswith("+") and not l.startswith("+++")]
        lines = source.splitlines()
        lines[cause["source"]["line"]:cause["source"]["line"]] = mended
        self.skep("verify", self.write("mended.bpf.c", "\n".join(lines) + "\n"), check=0)
        shown = self.skep("verify", path, check=1).stdout
        self.assertIn("this change was compiled and verified", shown)
        self.assertNotIn("this change", self.skep("verify", path, "--no-fix", check=1).stdout)
        log = self.skep("verify", path, "--no-fix", "--log", check=1).stdout
        self.assertRegex(log, r"(?m)^0: R1=ctx\(\) R10=fp0$")
        self.assertRegex(log, r"(?m)^\d+: \(85\) call bpf_map_lookup_elem.*; R0=map_value_or_null\(")
        trace = self.write("kernel.log", "12: (79) r1 = *(u64 *)(r0 +0)\nR0 invalid mem access 'map_value_or_null'\nprocessed 9 insns (limit 1000000)\n")
        self.assertIn("V022", self.skep("verify", path, "--kernel-log", trace, check=1).stdout)
        self.skep("verify", path, "--kernel-log", self.write("empty.log", ""), check=2)

    def test_the_running_kernels_verdict_stands_beside_ours(self):
        good = 'SEC("xdp")\nint good(struct xdp_md *ctx) { return ctx->ingress_ifindex ? 2 : 1; }\n'
        path = self.write("beside.bpf.c", HEADER + good)
        self.assertIn("--compare-kernel", self.skep("verify", path, "--compare-kernel", "--kernel", "5.15", check=2).stderr)
        need(can_use_kernel_bpf(), "bpf(2) is not permitted to this process")
        shown = self.skep("verify", path, "--compare-kernel", check=0).stdout
        self.assertRegex(shown, r"(?m)^accepted  good .*\n  Linux [^:]+: accepted, \d+ instructions processed, \d+ us$")
        verdict = json.loads(self.skep("verify", path, "--compare-kernel", "--json", check=0).stdout)
        self.assertEqual(verdict["kernel"]["verdict"], "accepted")
        self.assertEqual(verdict["kernel"]["insns_processed"], verdict["insns_processed"])
        bad = self.write("bad.bpf.c", HEADER + REFUSED[0][1])
        verdict = json.loads(self.skep("verify", bad, "--compare-kernel", "--json", check=1).stdout)
        self.assertEqual((verdict["kernel"]["verdict"], verdict["accepted"]), ("refused", False))
        self.assertIn("map_value_or_null", verdict["kernel"]["reason"])

    def test_what_files_say_reaches_no_terminal_as_control(self):
        text = HEADER + 'SEC("xdp")\nint p(struct xdp_md *ctx) {\n  unsigned char *d = (void *)(long)ctx->data; /* \x1b[31m\x07 */ return d[3] ? 1 : 2;\n}\n'
        shown = self.skep("verify", self.write("control.bpf.c", text), "--log", check=1).stdout
        self.assertIn("\\x1b", shown)
        self.assertFalse([c for c in shown if ord(c) < 32 and c != "\n"], shown)

    def test_names_of_files_reach_no_terminal_as_control(self):
        for words in (("verify", "\x1b[2Jx"), ("tools", "\x1b[2Jx"), ("verify", self.write("a\x1b[2Jb.o", "no object"))):
            result = self.skep(*words)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn("\\x1b[2J", result.stderr)
            self.assertNotIn("\x1b", result.stderr + result.stdout)

    def test_undecidable_is_two(self):
        garbage = self.write("garbage.o", "\x7fELFgarbage")
        self.skep("verify", garbage, check=2)
        self.skep("verify", self.directory / "absent.o", check=2)
        self.skep("verify", EXAMPLES / "hello.bpf.c", "--program", "nope", check=2)
        self.skep("verify", check=2)

    def test_raw_instructions(self):
        zero = self.directory / "zero.bin"
        self.skep("asm", self.write("zero.s", "r0 = 0\nexit\n"), "-o", zero, check=0)
        self.assertEqual(zero.read_bytes().hex(), "b700000000000000" "9500000000000000")
        verdict = json.loads(self.skep("verify", "--raw", zero, "--type", "xdp", "--json", check=0).stdout)
        self.assertEqual((verdict["accepted"], verdict["type"], verdict["insns_processed"]), (True, "xdp", 2))
        bad = self.directory / "bad.bin"
        bad.write_bytes(bytes.fromhex("9500000000000000"))
        verdict = json.loads(self.skep("verify", "--raw", bad, "--type", "xdp", "--json", check=1).stdout)
        self.assertIn("r0", verdict["reason"].lower() + verdict["registers"].lower())
        self.skep("verify", "--raw", bad, "--type", "nonsense", check=2)
        self.assertIn("exit", self.skep("disasm", "--raw", zero, check=0).stdout)

    def test_a_listing_is_assembled_to_the_same_bytes(self):
        text = "call bpf_ktime_get_ns#5\nr1 = r0\ncall pc+1\nexit\nif r1 != 0x8 goto pc+1\nr0 = 0x1122334455667788 ll\nexit\n"
        first, second = self.directory / "first.bin", self.directory / "second.bin"
        self.skep("asm", self.write("first.s", text), "-o", first, check=0)
        listing = self.skep("disasm", "--raw", first, check=0).stdout
        self.assertIn("call bpf_ktime_get_ns#5", listing)
        self.skep("asm", self.write("second.s", listing), "-o", second, check=0)
        self.assertEqual(first.read_bytes(), second.read_bytes())


class Compile(Case):
    @classmethod
    def setUpClass(cls):
        need_clang()
        super().setUpClass()

    def test_a_listing_names_what_the_program_uses(self):
        listing = self.skep("disasm", EXAMPLES / "opensnoop.bpf.c", check=0).stdout
        for line in (r"^; bpf_map_update_elem\(&opening, &thread, &pending, BPF_ANY\);$", r"= map\[opening\]$", r"call bpf_map_lookup_elem#1$"):
            self.assertRegex(listing, "(?m)" + line)

    def test_object_runs_like_its_source(self):
        target = self.directory / "hello.o"
        self.skep("compile", EXAMPLES / "hello.bpf.c", "-o", target, check=0)
        self.assertEqual(target.read_bytes()[:4], b"\x7fELF")
        result = self.skep("run", target, "--program", "hello", "--attach", "syscall:execve", "--", "/bin/true", check=0)
        self.assertEqual(result.stdout.count("Hello World!"), 1)

    def test_the_second_time_needs_no_compiler(self):
        text = 'int cached(void *ctx) { bpf_trace_printk("cached"); return 0; }\n'
        path = self.write("cached.c", text)
        first = self.directory / "first.o"
        self.skep("compile", path, "-o", first, check=0)
        without = dict(self.environment, SKEP_CLANG="/bin/false")
        self.write("other.c", text.replace("cached", "other"))
        self.skep("compile", path, "-o", self.directory / "second.o", check=0)
        self.assertEqual(first.read_bytes(), (self.directory / "second.o").read_bytes())
        self.assertNotEqual(self.skep("compile", self.directory / "other.c", "-o", self.directory / "x.o", env=without).returncode, 0)

    def test_no_compiler_names_the_package(self):
        path = self.write("fresh.c", 'int fresh(void *ctx) { return 0; }\n')
        empty = self.directory / "empty"
        empty.mkdir(exist_ok=True)
        result = self.skep("compile", path, "-o", self.directory / "x.o", env=dict(self.environment, PATH=str(empty), XDG_CACHE_HOME=str(self.directory / "fresh-cache")))
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("clang", result.stderr)
        self.assertIn("install", result.stderr)


if __name__ == "__main__":
    main()
