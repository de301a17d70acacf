"""Programs and maps in the kernel as skep shows and changes them, beside bpftool where it is installed: the same keys, the same values."""
import ctypes
import errno
import json
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import time

from kernel_inspection import BPFTOOL, KernelInspection, bpftool
from support import main, need, need_clang


class Maps(KernelInspection):
    def fill(self, handle, key, size):
        """Writes a value that is too long for a command line."""
        libc = ctypes.CDLL(None, use_errno=True)
        number = {"x86_64": 321, "aarch64": 280}[os.uname().machine]

        def bpf(command, attributes):
            buffer = ctypes.create_string_buffer(attributes, 128)
            status = libc.syscall(number, command, buffer, 128)
            self.assertGreaterEqual(status, 0, os.strerror(ctypes.get_errno()))
            return status

        path = ctypes.create_string_buffer(str(handle[1]).encode())
        descriptor = bpf(7, struct.pack("Q", ctypes.addressof(path)))  # BPF_OBJ_GET
        key_bytes, value = ctypes.create_string_buffer(struct.pack("I", key), 4), ctypes.create_string_buffer(bytes([key]) * size, size)
        bpf(2, struct.pack("IIQQQ", descriptor, 0, ctypes.addressof(key_bytes), ctypes.addressof(value), 0))  # BPF_MAP_UPDATE_ELEM
        os.close(descriptor)

    def test_a_hash_from_creation_to_its_end(self):
        numbers = self.make_map("numbers", "hash", 4, 8, 16)
        self.skep("map", "update", *numbers, "key", "1", "value", "10", check=0)
        self.skep("map", "update", *numbers, "key", "hex", "02", "00", "00", "00", "value", "20", "noexist", check=0)
        self.assertIn("exists already", self.skep("map", "update", *numbers, "key", "1", "value", "11", "noexist", check=1).stderr)
        self.assertEqual(self.skep("map", "lookup", *numbers, "key", "2", check=0).stdout, "key: 02 00 00 00  value: 14 00 00 00 00 00 00 00\n")
        self.assertEqual(self.json("map", "lookup", *numbers, "key", "1")["value"], ["0x0a"] + ["0x00"] * 7)
        first = self.json("map", "getnext", *numbers)
        self.assertIsNone(first["key"])
        self.assertEqual(len(self.json("map", "dump", *numbers)), 2)
        self.assertIn("Found 2 elements", self.skep("map", "dump", *numbers, check=0).stdout)
        self.skep("map", "delete", *numbers, "key", "2", check=0)
        self.assertIn("no such key", self.skep("map", "delete", *numbers, "key", "2", check=1).stderr)
        again = self.pins / "numbers_again"
        self.skep("map", "pin", *numbers, again, check=0)
        self.addCleanup(lambda: again.unlink(missing_ok=True))
        self.assertIn(str(again), self.json("map", "show", *numbers)["pinned"])
        self.skep("map", "freeze", *numbers, check=0)
        self.assertEqual(self.json("map", "show", *numbers)["frozen"], 1)
        self.assertIn("frozen", self.skep("map", "update", *numbers, "key", "1", "value", "3", check=1).stderr)

    def test_bad_lines_say_what_is_expected(self):
        numbers = self.make_map("bad_lines", "hash", 4, 8, 4)
        for arguments, words in (
            (("lookup", *numbers, "key", "1", "2"), "takes 4"),
            (("lookup", *numbers), "expected `key DATA`, 4 bytes"),
            (("update", *numbers, "key", "1"), "expected `value DATA`"),
            (("update", *numbers, "key", "1", "value", "300", "0"), "takes 8"),
            (("create", self.pins / "x", "type", "nothing", "key", "4", "value", "4", "entries", "1", "name", "x"), "there are: hash, array"),
            (("create", self.pins / "x", "type", "hash", "key", "4", "value", "4", "entries", "1"), "`name NAME` is missing"),
            (("create", self.pins / "x", "type", "hash", "key", "four"), "not a number"),
            (("create", self.pins / "x", "type", "hash", "key", "4", "value", "4", "entries", "0", "name", "x"), "0 entries"),
            (("create", "/tmp/skep_no_bpffs", "type", "hash", "key", "4", "value", "4", "entries", "1", "name", "x"), "not in a bpffs"),
            (("pin", *numbers, self.pins / "bad_lines"), "pinned there already"),
            (("pin", *numbers, self.pins / "missing" / "x"), "its directory"),
            (("pin", *numbers), "expected the path"),
            (("peek", *numbers), "for queue and stack maps, peek for ring buffers too"),
            (("push", *numbers, "value", "1"), "`update` writes others"),
            (("event_pipe", *numbers), "is not a ring"),
            (("show", "id", "4294967295"), "no map with id 4294967295"),
            (("show", "pinned", "/nowhere"), "no map is pinned at /nowhere: there is no such file"),
            (("show", "pinned", "/etc/passwd"), "no map is pinned at /etc/passwd: the file is in no bpffs"),
            (("create", self.pins / "x", "type", "lpm_trie", "key", "8", "value", "4", "entries", "1", "name", "x"), "flag 1 (BPF_F_NO_PREALLOC)"),
            (("create", self.pins / "x", "type", "hash", "key", "0", "value", "4", "entries", "1", "name", "x"), "of more than 0"),
            (("create", self.pins / "x", "type", "hash", "key", "4", "value", "8", "entries", "4294967295", "name", "x"), "more than the kernel makes"),
            (("create", self.pins / "x", "type", "ringbuf", "key", "4", "value", "4", "entries", "4096", "name", "x"), "keys and values of 0 bytes"),
            (("create", self.pins / "x", "type", "array_of_maps", "key", "4", "value", "4", "entries", "1", "name", "x"), "`inner_map MAP`"),
            (("dump",), "name a map"),
            (("fly",), "expected show, list, dump"),
        ):
            result = self.skep("map", *arguments)
            self.assertIn(result.returncode, (1, 2), arguments)
            self.assertIn(words, result.stderr, arguments)
            self.assertEqual(result.stdout, "", arguments)

    def test_elements_that_have_no_numbers_are_named(self):
        sockets = self.make_map("sockets", "sockmap", 4, 4, 2)
        for arguments, words in ((("update", *sockets, "key", "0", "value", "1"), "are sockets, written as descriptors"),
                                 (("lookup", *sockets, "key", "0"), "cookie of 8 bytes, and this map's values have 4"),
                                 (("delete", *sockets, "key", "0"), "no such key")):
            self.assertIn(words, self.skep("map", *arguments, check=1).stderr, arguments)
        devices = self.make_map("devices", "devmap_hash", 4, 4, 2)
        self.assertIn("the number of a network device", self.skep("map", "update", *devices, "key", "0", "value", "999999", check=1).stderr)
        events = self.make_map("counters", "perf_event_array", 4, 4, 2)
        self.assertIn("are perf events, written as", self.skep("map", "update", *events, "key", "0", "value", "1", check=1).stderr)

    def test_a_pin_may_be_named_from_where_one_stands(self):
        numbers = self.make_map("numbers_here", "array", 4, 4, 1)
        beside = numbers[1].parent / ".." / numbers[1].parent.name / numbers[1].name
        self.assertEqual(self.json("map", "show", "pinned", beside)["name"], "numbers_here")

    def test_queues_and_stacks(self):
        for kind, order in (("queue", (1, 2, 3)), ("stack", (3, 2, 1))):
            waiting = self.make_map(f"a_{kind}", kind, 0, 4, 8)
            for number in (1, 2, 3):
                self.skep("map", "push" if kind == "stack" else "enqueue", *waiting, "value", number, check=0)
            self.assertEqual(self.skep("map", "peek", *waiting, check=0).stdout, f"value: {order[0]:02x} 00 00 00\n")
            for number in order:
                self.assertEqual(self.json("map", "pop" if kind == "stack" else "dequeue", *waiting)["value"][0], f"0x{number:02x}")
            self.assertIn("it is empty", self.skep("map", "pop", *waiting, check=1).stderr)

    def test_values_of_every_cpu(self):
        per_cpu = self.make_map("per_cpu", "percpu_array", 4, 4, 2)
        self.skep("map", "update", *per_cpu, "key", "1", "value", "7", check=0)
        values = self.json("map", "lookup", *per_cpu, "key", "1")["values"]
        self.assertEqual([v["cpu"] for v in values], list(range(len(values))))
        self.assertTrue(all(v["value"] == ["0x07", "0x00", "0x00", "0x00"] for v in values))
        self.assertIn("value (CPU 00): 07 00 00 00", self.skep("map", "dump", *per_cpu, check=0).stdout)

    def test_maps_of_maps_take_objects_by_name(self):
        inner = self.make_map("inner", "array", 4, 4, 1)
        outer = self.make_map("outer", "hash_of_maps", 4, 4, 4, "inner_map", *inner)
        self.skep("map", "update", *outer, "key", "5", "value", *inner, check=0)
        inner_id = self.json("map", "show", *inner)["id"]
        (entry,) = self.json("map", "dump", *outer)
        self.assertEqual(entry["inner_map_id"], inner_id)
        other = self.make_map("other", "array", 4, 8, 1)
        self.assertIn("those of the template", self.skep("map", "update", *outer, "key", "5", "value", *other, check=1).stderr)
        self.assertIn("no map with id", self.skep("map", "update", *outer, "key", "5", "value", "77777777", check=1).stderr)

    def test_dumps_equal_bpftools(self):
        maps = {
            "flat": self.make_map("flat", "hash", 4, 8, 64),
            "wide": self.make_map("wide", "hash", 24, 40, 64),
            "cells": self.make_map("cells", "array", 4, 4, 9),
            "cpus": self.make_map("cpus", "percpu_hash", 4, 8, 16),
            "trie": self.make_map("trie", "lpm_trie", 8, 8, 16, "flags", 1),
            "events": self.make_map("events", "perf_event_array", 4, 4, 2),
            "ports": self.make_map("ports", "devmap", 4, 4, 2),
            "sockets": self.make_map("sockets", "sockmap", 4, 4, 2),
            "tails": self.make_map("tails", "prog_array", 4, 4, 3),
        }
        for n in range(20):
            self.skep("map", "update", *maps["flat"], "key", n, "value", n * n, check=0)
        self.skep("map", "update", *maps["wide"], "key", *range(24), "value", *range(40), check=0)
        self.skep("map", "update", *maps["cpus"], "key", "3", "value", "9", check=0)
        self.skep("map", "update", *maps["trie"], "key", *"16 0 0 0 10 1 0 0".split(), "value", "5", check=0)
        for name, handle in maps.items():
            theirs = bpftool("map", "dump", *handle)
            self.assertEqual(self.json("map", "dump", *handle), theirs, name)
            self.same(self.json("map", "show", *handle), bpftool("map", "show", *handle), name)
            text = subprocess.run([BPFTOOL, "map", "dump", *map(str, handle)], text=True, capture_output=True).stdout
            self.assertEqual(re.sub(r"\n+", "\n", self.skep("map", "dump", *handle, check=0).stdout), re.sub(r" *\n+", "\n", text), name)

    def test_buckets_larger_than_a_batch(self):
        # A batch of a few values of this size is smaller than a bucket of the hash, which is then read with more room.
        size, count = 600_000, 12
        large = self.make_map("large", "hash", 4, size, count)
        for n in range(count):
            self.fill(large, n, size)
        text = self.skep("map", "dump", *large, check=0).stdout
        self.assertTrue(text.endswith(f"Found {count} elements\n"))
        self.assertEqual(sorted(int(line.split()[0], 16) for line in re.findall(r"(?m)^key:\n(.*)$", text)), list(range(count)))

    def test_ring_buffers_are_read(self):
        need_clang()
        source = self.write("ring.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
SEC("xdp") int give(struct xdp_md *ctx) { unsigned long long word = 0x1122334455667788; bpf_ringbuf_output(&ring, &word, 8, 0); return 2; }
char _license[] SEC("license") = "GPL";
""")
        self.skep("prog", "loadall", source, self.pins / "ring", "pinmaps", self.pins / "ring_maps", check=0)
        packet = self.write("packet", "x" * 64)
        ring = ("pinned", self.pins / "ring_maps" / "ring")
        self.assertEqual(self.skep("map", "peek", *ring, check=0).stdout, "0 records wait\n")
        for _ in range(2):
            self.skep("prog", "run", "pinned", self.pins / "ring" / "give", "data_in", packet, check=0)
            waiting = self.json("map", "peek", *ring)
        self.assertEqual([r["value"][0] for r in waiting], ["0x88", "0x88"])
        self.assertEqual(self.json("map", "peek", *ring), waiting)  # they are still there
        self.assertEqual(self.skep("map", "peek", *ring, check=0).stdout, "value: 88 77 66 55 44 33 22 11\n" * 2 + "2 records wait\n")
        pipe = self.start("map", "event_pipe", "pinned", self.pins / "ring_maps" / "ring", "-j")
        deadline = time.monotonic() + 20
        line = ""
        os.set_blocking(pipe.stdout.fileno(), False)
        while not line and time.monotonic() < deadline:
            self.skep("prog", "run", "pinned", self.pins / "ring" / "give", "data_in", packet, check=0)
            time.sleep(0.05)
            line = pipe.stdout.readline()
        self.assertEqual(json.loads(line)["data"], ["0x88", "0x77", "0x66", "0x55", "0x44", "0x33", "0x22", "0x11"])
        pipe.send_signal(signal.SIGINT)
        self.assertEqual(pipe.wait(timeout=10), 0)
        self.assertIn("its other readers get no records", pipe.stderr.read())


class Programs(KernelInspection):
    def setUp(self):
        need_clang()
        self.source = self.write("count.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, unsigned); __type(value, unsigned long long); __uint(max_entries, 4); } counts SEC(".maps");
static __attribute__((noinline)) int slot(int length) { return length > 100 ? 1 : 0; }
SEC("xdp") int count(struct xdp_md *ctx) {
  unsigned key = slot(ctx->data_end - ctx->data);
  unsigned long long *value = bpf_map_lookup_elem(&counts, &key);
  if (value) __sync_fetch_and_add(value, 1);
  return XDP_PASS;
}
SEC("raw_tracepoint/sys_enter") int enter(void *ctx) { return 0; }
char _license[] SEC("license") = "GPL";
""")
        self.home = self.pins / self._testMethodName[:40]
        self.maps = self.pins / (self._testMethodName[:40] + "_maps")
        self.skep("prog", "loadall", self.source, self.home, "pinmaps", self.maps, check=0)
        self.count = ("pinned", self.home / "count")
        self.addCleanup(self.unload)

    def unload(self):
        for directory in (self.home, self.maps):
            for path in directory.iterdir() if directory.exists() else ():
                path.unlink()

    def test_the_facts_are_bpftools(self):
        ours = self.json("prog", "show", *self.count)
        theirs = bpftool("prog", "show", *self.count)
        self.same(ours, theirs, "prog")
        (map_id,) = ours["map_ids"]
        self.same(self.json("map", "show", "id", map_id), bpftool("map", "show", "id", map_id), "map")
        mine = next(b for b in self.json("btf", "show") if b["id"] == ours["btf_id"])
        self.same({**mine, "prog_ids": sorted(mine["prog_ids"]), "map_ids": sorted(mine["map_ids"])},
                  {key: sorted(v) if isinstance(v, list) else v for key, v in next(b for b in bpftool("btf", "show") if b["id"] == ours["btf_id"]).items()}, "btf")
        self.assertEqual(self.json("prog", "dump", "xlated", *self.count), bpftool("prog", "dump", "xlated", *self.count))
        for form in ("linum", "opcodes"):
            self.assertEqual(self.json("prog", "dump", "xlated", *self.count, form), bpftool("prog", "dump", "xlated", *self.count, form))

    def test_types_are_bpftools(self):
        id = self.json("prog", "show", *self.count)["btf_id"]
        self.assertEqual(self.json("btf", "dump", "prog", *self.count), bpftool("btf", "dump", "id", id))
        object = self.directory / "count.bpf.o"
        self.skep("compile", self.source, "-o", object, check=0)
        # Of sections skep knows what the loader fills in: sizes and offsets, which the compiler leaves 0.
        ours, theirs = ([t for t in types["types"] if t["kind"] != "DATASEC"] for types in (self.json("btf", "dump", "file", object), bpftool("btf", "dump", "file", object)))
        self.assertEqual(ours, theirs)
        ours, theirs = self.json("btf", "dump", "vmlinux")["types"], bpftool("btf", "dump", "id", 1)["types"]
        self.assertEqual(len(ours), len(theirs))
        for item in theirs:  # bpftool writes unsigned 32-bit enumerators above 2^31 as 64-bit numbers with their sign extended
            if item["kind"] == "ENUM" and item.get("encoding") == "UNSIGNED":
                for value in item["values"]:
                    value["val"] &= 0xffffffff
        self.assertEqual([a for a, b in zip(ours, theirs) if a != b][:3], [])

    def test_links_are_bpftools(self):
        self.skep("prog", "loadall", self.enter_only(), self.pins / "linked", "autoattach", check=0)
        path = self.pins / "linked" / "enter"
        link = self.json("link", "show", "pinned", path)
        theirs = next(item for item in bpftool("link", "show") if item["id"] == link["id"])
        self.same(link, theirs, "link")
        self.assertEqual((link["type"], link["tp_name"], link["pinned"]), ("raw_tracepoint", "sys_enter", [str(path)]))
        text = self.skep("link", "show", "id", link["id"], check=0).stdout
        self.assertRegex(text, rf"{link['id']}: raw_tracepoint  prog {link['prog_id']}\n\ttp_name sys_enter\n")
        why = self.json("prog", "why", "id", link["prog_id"])
        self.assertEqual([item["id"] for item in why["links"]], [link["id"]])
        self.assertIn(str(path), self.skep("prog", "why", "id", link["prog_id"], check=0).stdout)
        self.assertIn("cannot detach raw_tracepoint links", self.skep("link", "detach", "id", link["id"], check=1).stderr)
        path.unlink()
        deadline = time.monotonic() + 10
        while self.skep("link", "show", "id", link["id"]).returncode == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertIn("no link with id", self.skep("link", "show", "id", link["id"], check=1).stderr)

    def test_a_program_says_what_it_is(self):
        source = self.write("metadata.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
volatile const char bpf_metadata_version[] SEC(".rodata") = "1.2";
volatile const int bpf_metadata_build SEC(".rodata") = 7;
volatile const int other SEC(".rodata") = 9;
SEC("xdp") int said(struct xdp_md *ctx) { return other + bpf_metadata_build + bpf_metadata_version[0]; }
char _license[] SEC("license") = "GPL";
""")
        self.skep("prog", "load", source, self.pins / "said", check=0)
        facts = self.json("prog", "show", "pinned", self.pins / "said")
        self.assertEqual(facts["metadata"], {"version": "1.2", "build": 7})
        self.same(facts, bpftool("prog", "show", "pinned", self.pins / "said"), "metadata")
        self.assertIn('\tmetadata:\n\t\tversion = "1.2"\n\t\tbuild = 7\n', self.skep("prog", "show", "pinned", self.pins / "said", check=0).stdout)

    def test_a_program_that_reads_no_constants_says_what_it_is(self):
        source = self.write("silent.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
const char bpf_metadata_version[] SEC(".rodata") = "1.3";
SEC("raw_tracepoint/sys_enter") int silent(void *ctx) { return 0; }
char _license[] SEC("license") = "GPL";
""")
        self.skep("prog", "load", source, self.pins / "silent", check=0)
        facts = self.json("prog", "show", "pinned", self.pins / "silent")
        self.assertEqual((facts["metadata"], len(facts["map_ids"])), ({"version": "1.3"}, 1))
        self.same(facts, bpftool("prog", "show", "pinned", self.pins / "silent"), "metadata")
        host = self.start("run", source, "--backend", "user", "--", "cat", stdin=subprocess.PIPE)
        self.addCleanup(host.stdin.close)  # what ends cat
        seen, deadline = [], time.monotonic() + 20
        while not seen and time.monotonic() < deadline:
            seen = [one for one in self.json("prog", "show") if any(p["pid"] == host.pid for p in one.get("pids", []))]
        self.assertEqual([one.get("metadata") for one in seen], [{"version": "1.3"}])

    def test_links_of_every_kind_that_loads_here(self):
        source = self.write("many.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("tp_btf/sys_enter") int typed(void *ctx) { return 0; }
SEC("raw_tp/sys_exit") int raw(void *ctx) { return 0; }
SEC("tracepoint/syscalls/sys_enter_execve") int point(void *ctx) { return 0; }
SEC("iter/bpf_map") int each(void *ctx) { return 0; }
char _license[] SEC("license") = "GPL";
""")
        self.skep("prog", "loadall", source, self.pins / "many", "autoattach", check=0)
        theirs = {link["id"]: link for link in bpftool("link", "show")}
        kinds = {}
        for name in ("typed", "raw", "point", "each"):
            link = self.json("link", "show", "pinned", self.pins / "many" / name)
            self.same(link, theirs[link["id"]], name)
            kinds[name] = (link["type"], link["target"])
        self.assertEqual(kinds, {"typed": ("raw_tracepoint", "raw_tracepoint:sys_enter"), "raw": ("raw_tracepoint", "raw_tracepoint:sys_exit"),
                                 "point": ("perf_event", "tracepoint:sys_enter_execve"), "each": ("iter", "iter:bpf_map")})

    def enter_only(self):
        return self.write("enter.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("raw_tracepoint/sys_enter") int enter(void *ctx) { return 0; }
char _license[] SEC("license") = "GPL";
""")

    def test_a_run_counts(self):
        short, long = self.write("short", "s" * 60), self.write("long", "l" * 200)
        result = self.json("prog", "run", *self.count, "data_in", short, "repeat", 5)
        self.assertEqual(result["retval"], 2)
        self.assertEqual(len(result["data_out"]), 60)
        self.assertRegex(self.skep("prog", "run", *self.count, "data_in", long, check=0).stdout, r"(?s)^Data:\n0000000 6c .*\nReturn value: 2, duration: \d+ns\n$")
        entries = self.json("map", "dump", "pinned", self.maps / "counts")
        self.assertEqual([e["formatted"]["value"] for e in entries][:2], [5, 1])
        out = self.directory / "out"
        self.skep("prog", "run", *self.count, "data_in", short, "data_out", out, check=0)
        self.assertEqual(out.read_text(), "s" * 60)
        self.assertIn("data_in FILE", self.skep("prog", "run", *self.count, check=2).stderr)
        self.assertIn("No such file", self.skep("prog", "run", *self.count, "data_in", "/nonexistent", check=1).stderr)
        self.assertIn("above 0", self.skep("prog", "run", *self.count, "data_in", short, "repeat", "0", check=2).stderr)
        self.assertIn("at least 14", self.skep("prog", "run", *self.count, "data_in", self.write("tiny", "x"), check=2).stderr)

    def test_profile_and_top_count_runs(self):
        packet = self.write("short", "s" * 60)
        profile = self.start("prog", "profile", *self.count, "duration", "1.5", "-j")
        top = self.start("prog", "top", "interval", "1", "count", "2", "-j")
        deadline = time.monotonic() + 4
        while (profile.poll() is None or top.poll() is None) and time.monotonic() < deadline:
            self.skep("prog", "run", *self.count, "data_in", packet, "repeat", 1000, check=0)
        rows = {row["metric"]: row for row in json.loads(profile.stdout.read())}
        self.assertGreaterEqual(rows["run_cnt"]["value"], 1000)
        self.assertGreater(rows["run_time_ns"]["value"], rows["run_cnt"]["value"])
        samples = [json.loads(line) for line in top.stdout.read().splitlines()]
        self.assertEqual(len(samples), 2)
        id = self.json("prog", "show", *self.count)["id"]
        seen = [next(p for p in sample["programs"] if p["id"] == id) for sample in samples]
        self.assertGreater(max(p["events_per_second"] for p in seen), 100)
        self.assertGreater(max(p["ns_per_run"] for p in seen), 1)
        self.assertIn("NS/RUN", self.skep("prog", "top", "interval", "0.1", "count", "1", check=0).stdout)

    def test_profile_reads_counters_around_each_run_where_the_machine_has_them(self):
        self.assertRegex(self.skep("prog", "profile", *self.count, "duration", "1", "nonsense", check=2).stderr, r"cycles, instructions.*page-faults")
        packet = self.write("short", "s" * 60)
        for counter in ("cycles", "cpu-clock"):
            profile = self.start("prog", "profile", *self.count, "duration", "1", counter, "-j")
            while profile.poll() is None:
                self.skep("prog", "run", *self.count, "data_in", packet, "repeat", 1000, check=0)
            if profile.returncode == 0:
                (row,) = json.loads(profile.stdout.read())
                self.assertEqual(row["metric"], counter)
                self.assertGreaterEqual(row["run_cnt"], 1000)
                self.assertGreater(row["value"], 0)
                self.assertGreaterEqual(row["enabled"], row["running"])
            else:
                self.assertRegex(json.loads(profile.stdout.read())["error"], "no hardware counters|refuses fentry programs")

    def test_why_names_the_pins_and_the_program_arrays(self):
        tails = self.make_map("why_tails", "prog_array", 4, 4, 3)
        self.skep("map", "update", *tails, "key", "2", "value", *self.count, check=0)
        why = self.json("prog", "why", *self.count)
        self.assertEqual(why["program"]["pinned"], [str(self.home / "count")])
        self.assertEqual([(slot["name"], slot["index"]) for slot in why["program_arrays"]], [("why_tails", 2)])
        self.assertEqual(why["user"], "root")
        holder = self.start("run", self.quiet(), "--backend", "kernel", "--", "cat", stdin=subprocess.PIPE)
        self.addCleanup(holder.stdin.close)  # what ends cat
        deadline = time.monotonic() + 20
        held = []
        while not held and time.monotonic() < deadline:
            for program in self.json("prog", "show"):
                if program.get("name") == "quiet":
                    answer = self.skep("prog", "why", "id", program["id"], "-j")
                    if answer.returncode == 0:
                        held = [p for p in json.loads(answer.stdout)["processes"] if p["pid"] == holder.pid] or held
        self.assertTrue(held)
        self.assertIn("quiet.bpf.c", held[0]["command_line"])
        (id,) = {p["id"] for p in held if p["holds"] == "program"}
        lines = self.skep("prog", "why", id, check=0).stdout.splitlines()
        self.assertEqual(sum(line.startswith(f"process {holder.pid} (skep) holds program {id} as descriptor") for line in lines), 1, lines)

    def test_a_program_that_goes_meanwhile(self):
        profile = self.start("prog", "profile", *self.count, "duration", "1.5")
        time.sleep(0.7)
        for path in (self.home / "count", self.home / "enter"):
            path.unlink()
        self.assertEqual(profile.wait(timeout=20), 1)
        self.assertRegex(profile.stderr.read(), r"program count \(id \d+\) is gone")

    def test_pictures(self):
        dot = self.skep("prog", "visual", *self.count, check=0).stdout
        self.assertRegex(dot, r'(?s)^digraph .*subgraph "cluster_0".*label="count".*subgraph "cluster_1".*bb_\d+ -> bb_\d+')
        self.assertEqual(dot, self.skep("prog", "dump", "xlated", *self.count, "visual", check=0).stdout)
        svg = self.skep("prog", "visual", *self.count, "svg", check=0).stdout
        import xml.etree.ElementTree as xml
        root = xml.fromstring(svg)
        boxes = [e for e in root.iter() if e.tag.endswith("rect")][1:]
        self.assertEqual(len(boxes), dot.count("[label="))
        shown = " ".join(e.text or "" for e in root.iter() if e.tag.endswith("text"))
        self.assertIn("exit", shown)
        self.assertIn("bpf_map_lookup_elem", shown.replace("array_map_lookup", "bpf_map_lookup_elem"))
        if shutil.which("dot"):
            subprocess.run(["dot", "-Tsvg"], input=dot, text=True, check=True, stdout=subprocess.DEVNULL)

    def test_diff_of_a_program_and_its_next_version(self):
        other = self.write("next.bpf.c", pathlib.Path(self.source).read_text().replace("length > 100", "length > 200"))
        self.assertEqual(self.skep("diff", f"{self.source}:count", f"{self.source}:count", check=0).stdout, "")
        text = self.skep("diff", f"{self.source}:count", f"{other}:count", check=1).stdout
        self.assertIn("@@ static", text)
        self.assertEqual(len(re.findall(r"(?m)^-\(", text)), len(re.findall(r"(?m)^\+\(", text)))
        changes = self.json("diff", f"{self.source}:count", f"{other}:count", check=1)
        self.assertEqual(changes["insns_before"], changes["insns_after"])
        self.assertEqual((changes["removed"], changes["added"]), (1, 1))
        self.assertTrue(all("200" in c["src"] or "100" in c["src"] for c in changes["changes"]))
        self.assertIn("there are: count, enter", self.skep("diff", self.source, other, check=2).stderr)
        self.skep("diff", *self.count, *self.count, check=0)

    def test_loading_says_what_is_wrong(self):
        for arguments, words in (
            (("load", self.source, "/tmp/skep_no_bpffs"), "not in a bpffs"),
            (("load", self.source), "expected the object's file and the path"),
            (("load", "/nonexistent.o", self.pins / "x"), "nonexistent"),
            (("load", self.source, self.pins / "x", "type", "nothing"), "nothing"),
            (("load", self.source, self.pins / "x", "map", "name"), "expected idx N or name NAME"),
            (("pin", *self.count, self.home / "count"), "pinned there already"),
            (("attach", *self.count, "sk_msg_verdict", "id", "4294967294"), "no map with id"),
            (("attach", *self.count, "kprobe"), "no type to attach here"),
            (("show", "tag", "0000000000000000"), "no program with tag"),
            (("dump", "xlated", *self.count, "upside_down"), "not expected here"),
            (("visual", *self.count, "png"), "expected dot or svg"),
            (("fly",), "expected show, list"),
        ):
            result = self.skep("prog", *arguments)
            self.assertIn(result.returncode, (1, 2), arguments)
            self.assertIn(words, result.stderr, arguments)
        self.assertFalse((self.pins / "x").exists())
        # The second program's name is taken: nothing of the first may stay.
        half = self.pins / "half"
        half.mkdir()
        self.skep("prog", "pin", *self.count, half / "enter", check=0)
        self.assertIn("pinned there already", self.skep("prog", "loadall", self.source, half, "pinmaps", self.pins / "half_maps", check=2).stderr)
        self.assertEqual([path.name for path in half.iterdir()], ["enter"])
        self.assertFalse((self.pins / "half_maps").exists())
        self.skep("prog", "load", self.source, self.pins / "first", check=0)
        nothing = self.write("nothing.bpf.c", '#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nSEC("?syscall") int f(void *ctx) { return 0; }\n')
        self.assertIn("no program is loaded by itself", self.skep("prog", "load", nothing, self.pins / "nothing", check=1).stderr)
        self.assertEqual(self.json("prog", "show", "pinned", self.pins / "first")["name"], "count")

    def test_iterators(self):
        source = self.write("iter.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct seq_file; struct bpf_iter_meta { struct seq_file *seq; unsigned long long session_id, seq_num; } __attribute__((preserve_access_index));
struct bpf_map; struct bpf_iter__bpf_map { struct bpf_iter_meta *meta; struct bpf_map *map; } __attribute__((preserve_access_index));
SEC("iter/bpf_map") int each(struct bpf_iter__bpf_map *ctx) {
  static const char text[] = "map\\n";
  struct seq_file *seq = ctx->meta->seq;
  if (ctx->map) bpf_seq_write(seq, text, 4);
  return 0;
}
char _license[] SEC("license") = "GPL";
""")
        loaded = self.skep("prog", "load", source, self.pins / "iter_program")
        need(loaded.returncode == 0 or "iter" not in loaded.stderr, "this engine loads no iterators yet: " + loaded.stderr.strip())
        self.assertEqual(loaded.returncode, 0, loaded.stderr)
        self.skep("iter", "pin", "pinned", self.pins / "iter_program", self.pins / "each_map", check=0)
        self.assertIn("map\n", (self.pins / "each_map").read_text())
        (link,) = [item for item in self.json("link", "show") if str(self.pins / "each_map") in item.get("pinned", [])]
        self.assertEqual((link["type"], link["target_name"]), ("iter", "bpf_map"))
        self.assertIn("no iterator", self.skep("iter", "pin", *self.count, self.pins / "nothing", check=2).stderr)

    def test_maps_that_are_there_and_streams_of_programs(self):
        need_clang()
        source = self.write("shared.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); } counts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, __u32); __type(value, __u64); } others SEC(".maps");
SEC("xdp") int count(struct xdp_md *ctx) {
  __u32 key = 0;
  __u64 *n = bpf_map_lookup_elem(&counts, &key);
  if (n) __sync_fetch_and_add(n, 1);
  return bpf_map_lookup_elem(&others, &key) ? 1 : 2;
}
char _license[] SEC("license") = "GPL";
""")
        first, second, maps = self.pins / "share_first", self.pins / "share_second", self.pins / "share_maps"
        self.skep("prog", "load", source, first, "pinmaps", maps, check=0)
        self.skep("prog", "load", source, second, "map", "idx", "0", "pinned", maps / "counts", "map", "name", "others", "pinned", maps / "others", check=0)
        packet = self.write("shared_packet", "x" * 64)
        for program in (first, second, second):
            self.skep("prog", "run", "pinned", program, "data_in", packet, check=0)
        (entry,) = self.json("map", "dump", "pinned", maps / "counts")
        self.assertEqual(entry["formatted"]["value"], 3)
        self.assertIn("it has, from 0 on: counts, others", self.skep("prog", "load", source, self.pins / "x", "map", "idx", "9", "pinned", maps / "counts", check=1).stderr)
        self.assertIn("type", self.skep("prog", "load", source, self.pins / "x", "map", "name", "others", "pinned", maps / "counts").stderr)
        self.assertIn("expected idx N or name NAME", self.skep("prog", "load", source, self.pins / "x", "map", "counts", check=2).stderr)
        waiting = self.skep("prog", "tracelog", "stdout", "pinned", first)
        if waiting.returncode != 0:
            self.assertIn("6.17", waiting.stderr)
            need(False, "this kernel keeps no streams of programs")
        self.assertEqual(waiting.stdout, "")
        speaking = self.write("speaks.bpf.c", """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
extern int bpf_stream_vprintk_impl(int stream_id, const char *fmt__str, const void *args, __u32 len__sz, void *aux__prog) __attribute__((section(".ksyms")));
SEC("syscall") int speak(void *ctx) {
  static const char text[] = "seven is %d\\n";
  unsigned long long seven[1] = {7};
  bpf_stream_vprintk_impl(1, text, seven, 8, 0);
  static const char other[] = "no good\\n";
  return bpf_stream_vprintk_impl(2, other, seven, 0, 0);
}
char _license[] SEC("license") = "GPL";
""")
        pinned = self.pins / "speak"
        loaded = self.skep("prog", "load", speaking, pinned)
        need('no function "bpf_stream' not in loaded.stderr, "this kernel names the function that writes otherwise")
        self.assertEqual(loaded.returncode, 0, loaded.stderr)
        self.skep("verify", "--rules", "kernel", speaking, check=0)
        answer = self.json("prog", "run", "pinned", pinned, "ctx_in", self.write("context", "x" * 8))["retval"]
        need(answer != 2**32 - errno.ENOMEM, "this kernel finds no page for a program's stream")
        self.assertEqual(self.skep("prog", "tracelog", "stderr", "pinned", pinned, check=0).stdout, "no good\n")
        self.assertEqual(self.json("prog", "tracelog", "stdout", "pinned", pinned), "seven is 7\n")
        self.assertEqual(self.skep("prog", "tracelog", "stdout", "pinned", pinned, check=0).stdout, "")
        self.assertIn("stdout or stderr", self.skep("prog", "tracelog", "stdlog", check=2).stderr)


if __name__ == "__main__":
    main()
