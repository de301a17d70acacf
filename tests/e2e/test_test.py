"""skep test: cases with inputs and expectations, in every engine."""
import json

from support import Case, can_use_kernel_bpf, main, need_clang

PROGRAM = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); } counters SEC(".maps");
SEC("xdp") int filter(struct xdp_md *ctx) {
  unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
  __u32 key = 0;
  __u64 *count = bpf_map_lookup_elem(&counters, &key);
  if (count) __sync_fetch_and_add(count, 1);
  if (data + 60 > end) return XDP_DROP;
  if (data[0] == 0xff) data[0] = 1;
  return XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""

TAIL_CALL = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int second(struct xdp_md *ctx) { return XDP_DROP; }
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 2); __uint(key_size, 4); __array(values, int(void *)); } calls SEC(".maps") = {.values = {[1] = (void *)&second}};
SEC("xdp") int first(struct xdp_md *ctx) { bpf_tail_call(ctx, &calls, 1); return XDP_PASS; }
SEC("xdp") int refused(struct xdp_md *ctx) { return *(int *)(long)ctx->data; }
char LICENSE[] SEC("license") = "GPL";
"""

SOCKETS = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
SEC("cgroup/connect4") int rule(struct bpf_sock_addr *c) {
  struct bpf_sock *sk = c->sk;
  if (c->user_port != bpf_htons(80) || sk->type != 0) return 0;
  c->user_ip4 = bpf_htonl(0x7f000002);
  return 1;
}
SEC("sk_msg") int words(struct sk_msg_md *m) {
  unsigned char *d = m->data, *end = m->data_end;
  if (d + 2 > end) return SK_DROP;
  d[1] = d[0];
  return SK_PASS;
}
SEC("sockops") int ops(struct bpf_sock_ops *o) { o->reply = o->args[1] + (o->sk != 0); return 1; }
SEC("cgroup_skb/ingress") int ip(struct __sk_buff *s) {
  unsigned char *d = (void *)(long)s->data, *end = (void *)(long)s->data_end;
  return d + 20 <= end && d[9] == 6;
}
SEC("cgroup/dev") int device(struct bpf_cgroup_dev_ctx *c) { return c->major == 1 && c->minor == 3; }
char LICENSE[] SEC("license") = "GPL";
"""

SOCKET_CASES = """
case port 80 goes elsewhere
program rule
context 02000000 7f000001 00000000000000000000000000000000 00500000
context_after 02000000 7f000002 00000000000000000000000000000000 00500000 000000000000000000000000000000000000000000000000000000000000000000000000 0000000000000000
result 1

case other ports do not
program rule
context 02000000 7f000001 00000000000000000000000000000000 00160000 000000000000000000000000000000000000000000000000000000000000000000000000 ffffffffffffffff
context_after 02000000 7f000001 00000000000000000000000000000000 00160000 000000000000000000000000000000000000000000000000000000000000000000000000 0000000000000000
result 0

case a message is changed
program words
packet 0700
output 0707
result SK_PASS

case a message may be too short
program words
packet 07
output 07
result SK_DROP

case a socket that is not there
program ops
context 04000000 01000000 05000000 00000000 00000000
result 1

case a packet begins behind its Ethernet header
program ip
packet ffffffffffff 000000000000 0800 4500001400000000400600000102030405060708
result 1

case a device
program device
context 02000000 01000000 03000000
result 1
"""

CASES = """
# what a filter does to packets
case small packets are dropped and counted
packet zeroes 59
set counters 00000000 = 0500000000000000
result XDP_DROP
map counters 00000000 = 0600000000000000
map counters 01000000 = none

case a broadcast is readdressed
packet ffffffffffff 000000000000 88b5 0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000
result XDP_PASS
output 01ffffffffff 000000000000 88b5 0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000
"""


class Test(Case):
    def setUp(self):
        need_clang()
        self.source = self.write("filter.bpf.c", PROGRAM)

    def test_programs_of_sockets_and_control_groups(self):
        source = self.write("sockets.bpf.c", SOCKETS)
        cases = self.write("sockets.cases", SOCKET_CASES)
        for engine in ("interp", "jit", "opt", "checked"):
            ran = self.skep("test", source, "--cases", cases, "--engine", engine)
            self.assertIn("7 of 7 cases hold", ran.stdout, ran.stdout + ran.stderr)
        refused = self.skep("test", source, "--program", "device", "--packet", "00", "--engine", "jit", check=2)
        self.assertIn("take a context, not a packet", refused.stderr)

    def test_a_program_brings_what_it_calls_and_nothing_else(self):
        source = self.write("tail.bpf.c", TAIL_CALL)
        ran = self.skep("test", source, "--program", "first", "--expect", "XDP_DROP", "-j", check=0)
        results = {one["engine"]: one["result"] for one in map(json.loads, ran.stdout.splitlines())}
        self.assertIn("interp", results)
        self.assertEqual(set(results.values()), {1}, results)
        measured = json.loads(self.skep("bench", source, "--program", "first", "--engine", "interp", "--repeat", "100", "-j", check=0).stdout)
        self.assertEqual(measured["result"], 1, "XDP_DROP")
        self.assertIn("refused", self.skep("test", source, "--program", "refused", check=1).stderr)

    def test_cases_hold_in_every_tier(self):
        result = self.skep("test", self.source, "--cases", self.write("good.cases", CASES), check=0)
        self.assertIn("2 of 2 cases hold", result.stdout)
        for engine in ("interp", "jit", "opt"):
            self.assertIn(f"ok     small packets are dropped and counted [{engine}]: result 1 (XDP_DROP)", result.stdout)

    def test_what_does_not_hold_is_said(self):
        wrong = CASES.replace("= 0600000000000000", "= 0700000000000000")
        result = self.skep("test", self.source, "--cases", self.write("wrong.cases", wrong), check=1)
        self.assertIn("map counters key 00000000 is 0600000000000000, expected 0700000000000000", result.stdout)
        self.assertIn("1 of 2 cases hold", result.stdout)

    def test_one_run_by_options(self):
        self.skep("test", self.source, "--packet", "zeroes 100", "--expect", "XDP_PASS", check=0)
        result = self.skep("test", self.source, "--packet", "zeroes 20", "--expect", "XDP_PASS", "--engine", "jit", "--json", check=1)
        line = json.loads(result.stdout)
        self.assertEqual((line["engine"], line["ok"], line["result"]), ("jit", False, 1))
        self.assertEqual(line["failures"], ["result is 1, expected 2"])

    def test_a_program_without_a_type_is_no_kernels(self):
        source = self.write("plain.c", 'int hello(void *ctx) { return 5; }')
        result = self.skep("test", source, "--expect", "5", check=0)
        self.assertEqual(result.stdout.count("ok "), 3, result.stdout)
        if can_use_kernel_bpf():
            self.assertIn("kernel is left out: program hello: no section gives it a type", result.stderr)

    def test_mistakes_name_file_and_line(self):
        for text, message in (("result XDP_DROP\n", "bad.cases:1: expected 'case NAME' first"),
                              ("case a\nresult XDP_DORP\n", "bad.cases:2: 'XDP_DORP' is no result"),
                              ("case a\npacket 0g\n", "bad.cases:2: 'g' is no hexadecimal digit"),
                              ("case a\nset counters 00\n", "bad.cases:2: expected MAP KEY = VALUE"),
                              ("", "holds no case")):
            result = self.skep("test", self.source, "--cases", self.write("bad.cases", text))
            self.assertNotEqual(result.returncode, 0)
            self.assertIn(message, result.stderr)
        result = self.skep("test", self.source, "--cases", self.write("size.cases", "case a\nset counters 00 = 01\nresult 1\n"), check=2)
        self.assertIn("map counters: the key has 1 bytes, the map's have 4", result.stderr)


if __name__ == "__main__":
    main()
