"""bcc.libbcc.lib: what programs call of libbcc and libbpf by ctypes, as they write it."""
import os
import unittest

from common import DriverCase, can_use_kernel_bpf, main

PINNED = """
import ctypes as ct, os
from bcc import BPF, lib, libbcc, table
path = b"%s"
b = BPF(text="struct point { u32 x, y; }; BPF_HASH(points, u32, struct point, 64); BPF_ARRAY(slots, u64, 4); int f(void *ctx) "
             "{ u32 k = 1; return points.lookup(&k) != 0; }")
assert lib.bpf_obj_pin(b["points"].map_fd, ct.c_char_p(path)) == 0
assert lib.bpf_obj_pin(b["points"].map_fd, path) == -1
print("taken:", os.strerror(ct.get_errno()))
fd = libbcc.lib.bpf_obj_get(path)
key, leaf = ct.c_uint32(5), (ct.c_uint32 * 2)(8, 9)
assert lib.bpf_update_elem(fd, ct.byref(key), ct.byref(leaf), 0) == 0
print("in the table:", b["points"][ct.c_uint32(5)].y)
found = ct.c_uint64()
print(lib.bpf_lookup_elem(fd, ct.byref(key), ct.byref(found)), hex(found.value))
print(lib.bpf_map_lookup_elem(fd, (6).to_bytes(4, "little"), ct.create_string_buffer(8)), os.strerror(ct.get_errno()))
next_key = ct.c_uint32()
print(lib.bpf_get_first_key(fd, ct.byref(next_key), 4), next_key.value, lib.bpf_get_next_key(fd, ct.byref(next_key), ct.byref(next_key)))
assert lib.bpf_table_fd(b.module, b"points") == b["points"].map_fd and lib.bpf_table_fd(b.module, b"no_such") == -1

class Pinned(table.HashTable):
    def __init__(self, path, key, leaf, entries):
        map_fd = libbcc.lib.bpf_obj_get(ct.c_char_p(path))
        if map_fd < 0:
            raise ValueError("Failed to open eBPF map")
        self.map_fd, self.Key, self.Leaf, self.max_entries = map_fd, key, leaf, entries

class Point(ct.Structure):
    _fields_ = [("x", ct.c_uint32), ("y", ct.c_uint32)]

points = Pinned(path, ct.c_uint32, Point, 64)
points[ct.c_uint32(7)] = Point(1, 2)
print("pinned:", sorted((k.value, v.x, v.y) for k, v in points.items()), len(b["points"]))
assert lib.bpf_delete_elem(fd, ct.byref(key)) == 0 and lib.bpf_delete_elem(fd, ct.byref(key)) == -1
again = lib.bpf_map_get_fd_by_id(points.map_id)
print("by id:", lib.bpf_get_first_key(again, ct.byref(next_key), 4), next_key.value)
queue = lib.bcc_create_map(table.BPF_MAP_TYPE_QUEUE, None, 0, 8, 16, 0)
assert lib.bpf_update_elem(queue, None, ct.byref(ct.c_uint64(77)), 0) == 0
print("taken:", lib.bpf_lookup_and_delete(queue, None, ct.byref(found)), found.value)
print("nobody:", lib.bpf_lookup_elem(12345, ct.byref(key), ct.byref(found)), os.strerror(ct.get_errno()))
print("nothing:", lib.bpf_obj_get(path + b"_none"), os.strerror(ct.get_errno()))
"""
EXPECTED = """taken: File exists
in the table: 9
0 0x900000008
-1 No such file or directory
0 5 -1
pinned: [(5, 8, 9), (7, 1, 2)] 2
by id: 0 7
taken: 0 77
nobody: -1 Bad file descriptor
nothing: -1 No such file or directory
"""
TEST_RUN = """
import ctypes
from bcc import BPF, libbcc
b = BPF(text="int drop(struct xdp_md *ctx) { char *at = (void *)(long)ctx->data; if (at + 14 > (char *)(long)ctx->data_end) return XDP_ABORTED;"
             " at[0] = 7; return XDP_DROP; }")
fn = b.load_func("drop", BPF.XDP)
packet = bytes(64)
data, out = ctypes.create_string_buffer(packet, len(packet)), ctypes.create_string_buffer(1514)
size, result, duration = ctypes.c_uint32(), ctypes.c_uint32(), ctypes.c_uint32()
print(libbcc.lib.bpf_prog_test_run(fn.fd, 1, ctypes.byref(data), len(packet), ctypes.byref(out), ctypes.byref(size),
                                   ctypes.byref(result), ctypes.byref(duration)), size.value, result.value, out.raw[0])
"""
SYMBOLS = """
import ctypes as ct
from bcc.libbcc import lib, bcc_symbol, bcc_symbol_option
symbol = bcc_symbol()
print(lib.bcc_resolve_symname(b"c", b"getenv", 0, 0, ct.cast(None, ct.POINTER(bcc_symbol_option)), ct.byref(symbol)))
path, offset = symbol.module, symbol.offset
from bcc import BPF
assert (b"getenv", offset) in BPF.get_user_functions_and_addresses(path, "getenv$"), (path, offset)
only_indirect = bcc_symbol_option()
only_indirect.use_symbol_type = 1 << 10
print(lib.bcc_resolve_symname(b"c", b"getenv", 0, 0, ct.byref(only_indirect), ct.byref(symbol)),
      lib.bcc_resolve_symname(b"c", b"no_such_function", 0, 0, None, symbol), lib.bcc_resolve_symname(b"no_such_library", b"f", 0, 0, None, symbol))
found = lib.bcc_procutils_which_so(b"c", 0)
assert ct.cast(found, ct.c_char_p).value == path and lib.bcc_procutils_which_so(b"no_such_library", 0) is None
lib.bcc_procutils_free(found)
for name in ("bpf_attach_uprobe", "bcc_func_load", "nonsense"):
    try:
        getattr(lib, name)
    except AttributeError as error:
        print(error)
"""


class Symbols(DriverCase):
    def test_functions_and_libraries(self):
        result = self.driver(SYMBOLS)
        lines = result.stdout.splitlines()
        self.assertEqual(lines[:2], ["0", "-1 -1 -1"], result.stdout + result.stderr)
        self.assertIn("libbcc's function bpf_attach_uprobe is not here", lines[2])
        self.assertIn("use BPF.attach_kprobe(), attach_uprobe()", lines[2])
        self.assertTrue(lines[3].endswith("use BPF.load_func()"), lines[3])
        self.assertIn("nonsense", lines[4])

    def test_the_user_engine_says_that_it_has_no_descriptors(self):
        result = self.driver('from bcc import BPF, lib\nb = BPF(text="BPF_HASH(h); int f(void *ctx) { u64 k = 1; return h.lookup(&k) != 0; }")\n'
                             'lib.bpf_lookup_elem(b["h"].map_fd, None, None)\n', "/bin/true")
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("bpf_lookup_elem works on descriptors, which what the user engine makes has not", result.stderr)


@unittest.skipUnless(can_use_kernel_bpf(), "takes root and a kernel with BTF")
class Descriptors(DriverCase):
    def test_maps_by_path_and_descriptor(self):
        path = f"/sys/fs/bpf/skep_test_lib_{os.getpid()}"
        self.addCleanup(lambda: os.path.exists(path) and os.unlink(path))
        result = self.driver(PINNED % path, before=("--backend", "kernel"))
        self.assertEqual((result.returncode, result.stdout), (0, EXPECTED), result.stderr)

    def test_a_run_on_a_packet(self):
        result = self.driver(TEST_RUN, before=("--backend", "kernel"))
        self.assertEqual((result.returncode, result.stdout), (0, "0 64 1 7\n"), result.stderr)


if __name__ == "__main__":
    main()
