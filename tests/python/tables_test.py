"""Tables: the dict protocol, types, histograms as BCC prints them. The user engine makes the maps; no program runs."""
import contextlib
import ctypes as ct
import io
import os
import random
import subprocess
import sys
import unittest

os.environ["SKEP_BACKEND"] = "user"

import common  # noqa: E402
from bcc import BPF, histogram, table  # noqa: E402

SOURCE = """
struct key { u32 pid; char comm[16]; u64 place; };
struct packed { u8 a; u32 b; } __attribute__((packed));
struct bits { u32 low : 3, high : 5; u64 rest; };
union both { u64 whole; u32 halves[2]; };
struct slot { u64 which; u64 slot; };
struct prefix { u32 length, data; };
enum color { RED, GREEN = 7 };
struct value { u64 count; s32 delta; enum color color; union both both; struct { int x, y; }; bool yes; char *where; };
BPF_HASH(counts);
BPF_HASH(by_key, struct key, struct value);
BPF_HASH(by_packed, struct packed, struct bits);
BPF_ARRAY(places, u64, 8);
BPF_PERCPU_ARRAY(per_cpu, u32, 4);
BPF_PERCPU_HASH(per_cpu_hash, u32, u64);
BPF_HISTOGRAM(dist);
BPF_HISTOGRAM(by_slot, struct slot);
BPF_LPM_TRIE(routes, struct prefix, u32, 16);
BPF_QUEUE(queue, u64, 4);
BPF_STACK(stack, struct packed, 4);
BPF_PROG_ARRAY(tails, 4);
int nothing(void *ctx) { return 0; }
"""


def printed(function, *arguments, **options):
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        function(*arguments, **options)
    return text.getvalue()


class Tables(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        common.need_clang()

    def setUp(self):
        self.bpf = BPF(text=SOURCE)

    def test_the_dict_protocol(self):
        counts = self.bpf["counts"]
        self.assertIs(counts, self.bpf[b"counts"])
        self.assertEqual(len(counts), 0)
        counts[counts.Key(1)] = counts.Leaf(10)
        counts[ct.c_int(2)] = ct.c_int(20)  # another type of number is converted, not read as bytes
        self.assertEqual({key.value: leaf.value for key, leaf in counts.items()}, {1: 10, 2: 20})
        self.assertEqual(counts[ct.c_ulonglong(2)].value, 20)
        self.assertEqual(sorted(key.value for key in counts), [1, 2])
        self.assertEqual(sorted(leaf.value for leaf in counts.values()), [10, 20])
        with self.assertRaises(KeyError):
            counts[counts.Key(3)]
        del counts[counts.Key(1)]
        with self.assertRaises(KeyError):
            del counts[counts.Key(1)]
        self.assertEqual(counts.get(counts.Key(1)), None)
        counts.zero()
        self.assertEqual([leaf.value for leaf in counts.values()], [0])
        counts.clear()
        self.assertEqual(counts.items(), [])

    def test_structures(self):
        by_key = self.bpf["by_key"]
        key = by_key.Key(7, b"bash", 0xffffffff81000000)
        value = by_key.Leaf()
        value.count, value.delta, value.color, value.x, value.y, value.yes = 3, -4, 7, -5, 6, True
        value.both.halves[1] = 1
        by_key[key] = value
        (read_key, read), = by_key.items()
        self.assertEqual((read_key.pid, read_key.comm, read_key.place), (7, b"bash", 0xffffffff81000000))
        self.assertEqual((read.count, read.delta, read.color, read.x, read.y, read.yes), (3, -4, 7, -5, 6, True))
        self.assertEqual(read.both.whole, 1 << 32)

    def test_packed_and_bit_fields(self):
        by_packed = self.bpf["by_packed"]
        self.assertEqual(ct.sizeof(by_packed.Key), 5)
        value = by_packed.Leaf(low=5, high=17, rest=9)
        self.assertEqual(bytes(value)[0], 5 | 17 << 3)
        by_packed[by_packed.Key(1, 2)] = value
        (key, read), = by_packed.items()
        self.assertEqual((key.a, key.b, read.low, read.high, read.rest), (1, 2, 5, 17, 9))

    def test_arrays(self):
        places = self.bpf["places"]
        self.assertEqual(len(places), 8)
        places[-1] = ct.c_int(5)
        self.assertEqual(places[7].value, 5)
        with self.assertRaises(IndexError):
            places[8]
        places[0] = ct.c_int(6)
        del places[0]  # as BCC: nothing can be taken out of an array, so the value is zero
        places.clearitem(7)
        self.assertEqual([leaf.value for leaf in places.values()], [0] * 8)
        self.assertEqual([key.value for key in places], list(range(8)))

    def test_values_of_each_cpu(self):
        for name in ("per_cpu", "per_cpu_hash"):
            one = self.bpf[name]
            values = one.Leaf()
            for cpu in range(one.total_cpu):
                values[cpu] = cpu + 1
            one[one.Key(2)] = values
            expected = list(range(1, one.total_cpu + 1))
            self.assertEqual(list(one[one.Key(2)]), expected)
            self.assertEqual(one.sum(one.Key(2)).value, sum(expected))
            self.assertEqual(one.max(one.Key(2)).value, one.total_cpu)
            self.assertEqual(one.average(one.Key(2)), sum(expected) / one.total_cpu)
            read = {key.value: list(values) for key, values in one.items()}
            self.assertEqual(read[2], expected)
        reduced = self.bpf.get_table("per_cpu", reducer=lambda a, b: a + b)
        self.assertEqual(reduced[2], sum(range(1, reduced.total_cpu + 1)))

    def test_many_at_once(self):
        counts = self.bpf["counts"]
        keys, leaves = (counts.Key * 100)(*range(100)), (counts.Leaf * 100)(*range(100, 200))
        counts.items_update_batch(keys, leaves)
        expected = {number: number + 100 for number in range(100)}
        self.assertEqual({key.value: leaf.value for key, leaf in counts.items_lookup_batch()}, expected)
        counts.items_delete_batch((counts.Key * 2)(0, 1))
        self.assertEqual(len(counts), 98)
        taken = {key.value: leaf.value for key, leaf in counts.items_lookup_and_delete_batch()}
        self.assertEqual(taken, {key: leaf for key, leaf in expected.items() if key > 1})
        self.assertEqual(len(counts), 0)
        with self.assertRaisesRegex(Exception, "delete entry 0 of 2 of table counts: .*no such key"):
            counts.items_delete_batch((counts.Key * 2)(0, 1))
        with self.assertRaisesRegex(Exception, "keys, the table has room for"):
            counts.items_delete_batch((counts.Key * (counts.max_entries + 1))())
        counts.items_update_batch(keys, leaves)
        counts.items_delete_batch()
        self.assertEqual(len(counts), 0)
        cells = self.bpf["per_cpu_hash"]
        leaves = (cells.Leaf * 3)()
        for place in range(3):
            for cpu in range(cells.total_cpu):
                leaves[place][cpu] = place * 10 + cpu
        cells.items_update_batch((cells.Key * 3)(5, 6, 7), leaves)
        taken = {key.value: list(values) for key, values in cells.items_lookup_and_delete_batch() if key.value in (5, 6, 7)}
        self.assertEqual(taken, {5 + place: [place * 10 + cpu for cpu in range(cells.total_cpu)] for place in range(3)})
        with self.assertRaises(TypeError):
            counts.items_update_batch([1], [2])
        with self.assertRaises(TypeError):
            counts.items_update_batch((ct.c_uint16 * 1)(1), (counts.Leaf * 1)(1))

    def test_queues_and_stacks(self):
        queue = self.bpf["queue"]
        for number in (1, 2, 3):
            queue.push(ct.c_uint64(number))
        self.assertEqual((queue.peek().value, queue.pop().value), (1, 1))
        self.assertEqual([leaf.value for leaf in queue.values()], [2, 3])
        with self.assertRaises(KeyError):
            queue.pop()
        stack = self.bpf["stack"]
        stack.push(stack.Leaf(1, 2))
        stack.push(stack.Leaf(3, 4))
        self.assertEqual(stack.pop().a, 3)
        for _ in range(3):
            stack.push(stack.Leaf(0, 0))
        with self.assertRaises(Exception):
            stack.push(stack.Leaf(0, 0))

    def test_longest_prefix(self):
        routes = self.bpf["routes"]
        routes[routes.Key(8, 0x0a)] = routes.Leaf(1)
        routes[routes.Key(16, 0x010a)] = routes.Leaf(2)
        self.assertEqual(routes[routes.Key(32, 0x0101010a)].value, 2)
        self.assertEqual(routes[routes.Key(32, 0x0102020a)].value, 1)

    def test_text_of_values(self):
        counts = self.bpf["counts"]
        self.assertEqual(counts.key_sprintf(counts.Key(31)), b"0x1f")
        self.assertEqual(counts.leaf_scanf(b"0x1f").value, 31)

    def test_wrong_use(self):
        with self.assertRaises(KeyError) as raised:
            self.bpf["no_such_table"]
        self.assertIn("counts", str(raised.exception), "the message names the tables that there are")
        with self.assertRaises(TypeError):
            self.bpf["by_key"][1]
        with self.assertRaises(TypeError):
            self.bpf["counts"]["text"] = 1
        self.assertFalse(hasattr(self.bpf["counts"], "open_perf_buffer"))

    def test_after_cleanup(self):
        counts = self.bpf["counts"]
        counts[1] = 2
        with self.bpf:
            pass
        with self.assertRaises(Exception) as raised:
            counts[1]
        self.assertIn("closed", str(raised.exception))
        self.bpf.cleanup()

    def test_many_objects_come_and_go(self):
        for _ in range(150):  # a process of the user engine can name 512 maps at a time
            with BPF(text=SOURCE):
                pass

    def test_histograms_of_a_table(self):
        dist = self.bpf["dist"]
        dist[dist.Key(3)] = dist.Leaf(10)
        self.assertEqual(printed(dist.print_log2_hist, "usecs").splitlines(), [
            "     usecs               : count     distribution",
            "         0 -> 1          : 0        |                                        |",
            "         2 -> 3          : 0        |                                        |",
            "         4 -> 7          : 10       |****************************************|"])
        by_slot = self.bpf["by_slot"]
        by_slot[by_slot.Key(9, 1)] = by_slot.Leaf(1)
        by_slot[by_slot.Key(8, 2)] = by_slot.Leaf(2)
        text = printed(by_slot.print_log2_hist, "bytes", "disk", section_print_fn=lambda which: "sd%d" % which,
                       bucket_sort_fn=sorted)
        self.assertLess(text.index("\ndisk = sd8\n"), text.index("\ndisk = sd9\n"))


class AgainstBcc(unittest.TestCase):
    """The same functions of an installed BCC, on random values."""

    ASK = """
import sys
sys.path = [path for path in sys.path if "skep" not in path]
from bcc.table import _print_log2_hist, _print_linear_hist
import json
for what, values, strip in json.load(sys.stdin):
    print("#", what, strip)
    {"log2": _print_log2_hist, "linear": _print_linear_hist}[what](values, "usecs", strip)
"""

    def test_histograms(self):
        import json
        installed = "/usr/lib/python3/dist-packages"
        common.need(os.path.exists(installed + "/bcc/table.py"), "BCC is not installed (Debian package python3-bpfcc)")
        seed = random.randrange(1 << 32)
        numbers = random.Random(seed)
        cases = []
        for _ in range(300):
            used = numbers.randrange(1, 64)
            values = [0] * 65
            for bucket in range(used):
                values[bucket] = numbers.choice([0, 1, numbers.randrange(1 << numbers.randrange(1, 40))])
            cases.append(("log2", values, numbers.random() < 0.3))
            cases.append(("linear", values, numbers.random() < 0.3))
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "SKEP_LIBRARY")}
        answer = subprocess.run(["/usr/bin/python3", "-c", self.ASK], input=json.dumps(cases), text=True,
                                capture_output=True, env=environment)
        common.need(answer.returncode == 0, "the installed BCC does not start: " + answer.stderr[-300:])
        ours = ""
        for what, values, strip in cases:
            show = histogram.print_log2 if what == "log2" else histogram.print_linear
            ours += "# %s %s\n" % (what, strip) + printed(show, values, "usecs", strip)
        for number, (our, their) in enumerate(zip(ours.splitlines(), answer.stdout.splitlines())):
            self.assertEqual(our, their, "line %d, seed %d" % (number, seed))
        self.assertEqual(len(ours), len(answer.stdout), "seed %d" % seed)


if __name__ == "__main__":
    common.main()
