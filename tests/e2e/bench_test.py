"""skep bench: the contract of its options, its JSON and its refusals."""
import json
import os
import re
import struct

from support import Case, main, need

KEYS = ["program", "engine", "ns_per_run", "result", "load_us", "jit_us", "code_bytes"]
TIERS = ["interp", "jit", "opt", "checked"]


def insn(code, dst=0, src=0, off=0, imm=0):
    return struct.pack("<BBhi", code, dst | src << 4, off, imm)


EXIT = insn(0x95)
# r0 = the packet's byte 20, or 7 when the packet is shorter
BYTE_20 = (insn(0x61, 2, 1, 0) + insn(0x61, 3, 1, 4) + insn(0xb7, 0, imm=7) + insn(0xbf, 4, 2) + insn(0x07, 4, imm=21)
           + insn(0x2d, 4, 3, 1) + insn(0x71, 0, 2, 20) + EXIT)
# r0 = the sum 1 + ... + 1000
LOOP = insn(0xb7, 0) + insn(0xb7, 1, imm=1000) + insn(0x0f, 0, 1) + insn(0x17, 1, imm=1) + insn(0x55, 1, off=-3) + EXIT


class Bench(Case):
    def file(self, name, content):
        path = self.directory / name
        path.write_bytes(content)
        return path

    def bench(self, content, *arguments, repeat=2000):
        return self.skep("bench", "--raw", self.file("raw.bin", content), "--type", "xdp", "--repeat", repeat, *arguments, check=0)

    def lines(self, *arguments):
        return [json.loads(line) for line in self.bench(*arguments, "--json").stdout.splitlines()]

    def refused(self, status, pattern, *arguments):
        result = self.skep("bench", *arguments, check=status)
        self.assertEqual(result.stdout, "")
        self.assertRegex(result.stderr, pattern)
        return result

    def test_json_has_the_promised_keys_in_order(self):
        lines = self.lines(LOOP)
        self.assertEqual([line["engine"] for line in lines][:len(TIERS)], TIERS)
        for line in lines:
            self.assertEqual(list(line), KEYS)
            self.assertEqual((line["program"], line["result"]), ("raw", 500500))
            self.assertGreater(line["ns_per_run"], 0)
            self.assertLess(line["ns_per_run"], 1e9)
            self.assertGreater(line["load_us"], 0)
        interp, jit, opt = lines[:3]
        self.assertEqual((interp["jit_us"], interp["code_bytes"]), (0, 0))
        for line in (jit, opt):
            self.assertGreater(line["jit_us"], 0)
            self.assertGreater(line["code_bytes"], 0)
            self.assertLess(line["ns_per_run"], interp["ns_per_run"])

    def test_one_engine_can_be_chosen(self):
        for engine in TIERS:
            self.assertEqual([line["engine"] for line in self.lines(LOOP, "--engine", engine)], [engine])

    def test_the_kernel_engine(self):
        need(os.geteuid() == 0, "needs root for bpf(2)")
        result = self.skep("bench", "--raw", self.file("raw.bin", LOOP), "--type", "xdp", "--engine", "kernel", "--json")
        need("Operation not permitted" not in result.stderr, "bpf(2) is not permitted here")
        line = json.loads(result.stdout)
        self.assertEqual((list(line), line["engine"], line["result"]), (KEYS, "kernel", 500500))
        self.assertGreater(line["code_bytes"], 0)
        self.refused(1, r"the packet has 5 bytes, the kernel expects at least 14", "--raw", self.file("raw.bin", LOOP), "--type", "xdp",
                     "--engine", "kernel", "--input", self.file("short.bin", b"12345"))

    def test_without_root_the_kernel_engine_says_what_it_needs(self):
        need(os.geteuid() == 0, "needs root to become another user")
        arguments = ["bench", "--raw", self.file("raw.bin", LOOP), "--type", "xdp", "--repeat", 100]
        result = self.skep(*arguments, "--engine", "kernel", user="nobody", check=1)
        self.assertRegex(result.stderr, "CAP_BPF|not permitted")
        self.assertEqual(len(self.skep(*arguments, "--json", user="nobody", check=0).stdout.splitlines()), len(TIERS))

    def test_the_input_is_the_packet(self):
        packet = bytearray(64)
        packet[20] = 200
        for content, result in ((packet, 200), (packet[:20], 7)):
            lines = self.lines(BYTE_20, "--input", self.file("packet.bin", content))
            self.assertEqual({line["result"] for line in lines}, {result})
        self.assertEqual({line["result"] for line in self.lines(BYTE_20)}, {0}, "64 zeroes without --input")

    def test_the_table_says_the_same(self):
        self.assertRegex(self.bench(LOOP, "--engine", "opt").stdout,
                         r"^raw +opt +[\d.]+ ns  result 500500  load \d+ us  compile [\d.]+ us  \d+ bytes\n$")

    def test_one_run_is_measured(self):
        for repeat in (1, 3):
            line = json.loads(self.bench(LOOP, "--engine", "jit", "--json", repeat=repeat).stdout)
            self.assertLess(line["ns_per_run"], 1e9)

    def test_numbers_of_runs_that_are_none(self):
        raw = self.file("raw.bin", LOOP)
        for repeat in ("0", "-5", "many", "1.5", "", "99999999999999999999"):
            self.refused(2, "--repeat", "--raw", raw, "--type", "xdp", "--repeat", repeat)

    def test_bad_input_is_named(self):
        raw = ["--raw", self.file("raw.bin", LOOP), "--type", "xdp"]
        self.refused(1, r"no-such-file: No such file", *raw, "--input", self.directory / "no-such-file", "--engine", "opt")
        self.refused(1, r"Is a directory", *raw, "--input", self.directory, "--engine", "opt")
        self.refused(1, r"the packet has 0 bytes, expected 14", *raw, "--input", self.file("empty", b""), "--engine", "opt")
        self.refused(2, r"'foo' is none of interp", *raw, "--engine", "foo")
        self.refused(1, r"no program 'other'", *raw, "--program", "other")
        self.refused(2, r"FILE is required")
        self.refused(1, r"nothing: No such file", self.directory / "nothing")
        self.refused(1, r"empty: an empty file", self.file("empty", b""))

    def test_raw_bytes_that_are_no_program(self):
        path = self.file("raw.bin", LOOP)
        self.refused(2, r"--raw needs --type", "--raw", path)
        self.refused(2, r"no program type 'zzz'; there are: socket_filter", "--raw", path, "--type", "zzz")
        for content in (b"", LOOP[:-3]):
            self.refused(1, r"\d+ bytes; bare instructions are 8 bytes each", "--raw", self.file("odd.bin", content), "--type", "xdp")

    def test_a_refusal_is_said_once_and_fails(self):
        result = self.refused(1, r"r0 is read, but nothing was written", "--raw", self.file("raw.bin", EXIT), "--type", "xdp")
        self.assertEqual(len(re.findall("register_not_set", result.stderr)), 1)

    def test_more_runs_than_a_chunk(self):
        line = json.loads(self.bench(LOOP, "--engine", "opt", "--json", repeat=50000).stdout)
        self.assertGreater(line["ns_per_run"], 1)


if __name__ == "__main__":
    main()
