"""The objects of the kernel's own tests, loaded by bpftool, shown by both tools: every answer the same.

A sample of them in `make test`; SKEP_PARITY=all takes every object (some minutes). The corpus is looked for where the other
tests have it: $SKEP_CORPUS or ../shared/corpus beside the repository.
"""
import json
import os
import pathlib
import random
import re
import subprocess
import tarfile
import tempfile

from kernel_inspection import BPFTOOL, KernelInspection
from support import SOURCE, main, need

ARCHIVE = pathlib.Path(os.environ.get("SKEP_CORPUS", SOURCE / ".." / "shared" / "corpus")) / "selftests-6.12-progs-objects.tar.xz"
SAMPLE = 8

# What bpftool 7.1 does not know, or writes wrongly: instructions newer than it, and quotes and backslashes of C lines, which it
# does not escape. Where its answer has one of these, there is nothing to compare with.
NEWER = re.compile(r"gotol|__percpu|addr_space|may_goto|load_acquire|store_release|\(s8\)|\(s16\)|\(s32\)|bswap|s/=|s%=")


class Corpus(KernelInspection):
    def setUp(self):
        need(BPFTOOL, "bpftool (Debian package bpftool), which loads the objects and is the other side")
        need(ARCHIVE.exists(), f"no corpus at {ARCHIVE} (SKEP_CORPUS): the objects of the kernel's tests were left out")

    def theirs(self, *words):
        return subprocess.run([BPFTOOL, *map(str, words)], text=True, errors="replace", capture_output=True, timeout=60)

    def objects(self, scratch):
        """Files of the archive in an order of chance; the names in it are checked as any foreign file's."""
        with tarfile.open(ARCHIVE) as archive:
            members = sorted((m for m in archive.getmembers() if m.isfile() and m.name.endswith(".o")), key=lambda m: m.name)
            random.Random(os.environ.get("SKEP_SEED", "1")).shuffle(members)
            for member in members:
                path = scratch / pathlib.PurePath(member.name).name
                path.write_bytes(archive.extractfile(member).read())
                yield path
                path.unlink()

    def compare_json(self, *words):
        theirs = self.theirs("-j", *words).stdout
        try:
            wanted = json.loads(theirs)
        except ValueError:
            return  # a C line that bpftool did not escape
        ours = json.loads(self.skep(*words, "-j", check=0).stdout)
        if words[1] == "show":
            if isinstance(wanted["type"], int):
                return  # a type newer than it
            return self.same({k: v for k, v in ours.items() if k != "pinned"}, {k: v for k, v in wanted.items() if k != "pinned"}, " ".join(map(str, words)))
        if words[0] == "prog":
            newer = {i for i, line in enumerate(ours) if NEWER.search(line["disasm"]) or "\\" in line.get("src", "")}
            # A call that Linux made of bpf_loop is a distance, which bpftool takes for a function's number.
            newer |= {i for i, line in enumerate(ours) if re.search(r"call pc[+-]\d+$", line["disasm"])}
            ours, wanted = ([line for i, line in enumerate(answer) if i not in newer] for answer in (ours, wanted))
        self.assertEqual([{k: v for k, v in item.items() if k != "inner_map_id"} for item in ours], wanted, words)

    def compare_text(self, *words):
        ours, theirs = self.skep(*words, check=0).stdout.splitlines(), self.theirs(*words).stdout.splitlines()
        pairs = [(a.rstrip(), b.rstrip()) for a, b in zip([a for a in ours if a], [b for b in theirs if b]) if not NEWER.search(a)]
        self.assertEqual([a for a, _ in pairs], [b for _, b in pairs], words)

    def compare_object(self, file):
        """False where this kernel or bpftool refuses the object."""
        programs, maps = self.pins / "programs", self.pins / "maps"
        try:
            if self.theirs("prog", "loadall", file, programs, "pinmaps", maps).returncode != 0:
                return False
            for path in sorted(programs.iterdir())[:3]:
                for words in (("show",), ("dump", "xlated")):
                    self.compare_json("prog", *words, "pinned", path)
                for form in ("linum", "opcodes"):
                    self.compare_json("prog", "dump", "xlated", "pinned", path, form)
                self.compare_text("prog", "dump", "xlated", "pinned", path, "opcodes")
            for path in sorted(maps.iterdir())[:6] if maps.exists() else ():
                self.compare_json("map", "show", "pinned", path)
                facts = self.json("map", "show", "pinned", path)
                has_keys = "storage" not in facts["type"] and facts["type"] not in ("ringbuf", "user_ringbuf", "queue", "stack", "bloom_filter", "arena", "stack_trace")
                if has_keys and facts["max_entries"] <= 20000:
                    self.compare_json("map", "dump", "pinned", path)
                    self.compare_text("map", "dump", "pinned", path)
            return True
        finally:
            for directory in (programs, maps):
                for path in directory.iterdir() if directory.exists() else ():
                    path.unlink()
                if directory.exists():
                    directory.rmdir()

    def test_every_answer_is_bpftools(self):
        wanted = None if os.environ.get("SKEP_PARITY") == "all" else SAMPLE
        compared = 0
        with tempfile.TemporaryDirectory() as scratch:
            for file in self.objects(pathlib.Path(scratch)):
                with self.subTest(object=file.name):
                    compared += self.compare_object(file)
                if compared == wanted:
                    break
        self.assertGreaterEqual(compared, SAMPLE, "objects of the corpus that this kernel loads")


del KernelInspection  # it is a base, not a test of this file

if __name__ == "__main__":
    main()
