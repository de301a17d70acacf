"""Packets read by a cursor, as BCC's networking programs do: a socket filter on the loopback device of a network namespace."""
import shutil

from common import DriverCase, can_use_kernel_bpf, main, need

FILTER = r"""
import ctypes, os, socket, subprocess, sys
if ctypes.CDLL(None, use_errno=True).unshare(0x40000000) != 0:  # CLONE_NEWNET
    sys.exit("unshare: " + os.strerror(ctypes.get_errno()))
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
from bcc import BPF
b = BPF(text='''
#include <net/sock.h>
#include <bcc/proto.h>
#define IP_UDP 17
struct label_t {
  u16 kind : 4, rest : 12;
  u8 text[3];
  u16 number;
} BPF_PACKET_HEADER;
struct seen { u64 source; u32 length, version, head, ttl, address, kind, rest, number, first; };
BPF_ARRAY(seen, struct seen, 1);
int filter(struct __sk_buff *skb) {
  u8 *cursor = 0;
  struct ethernet_t *ethernet = cursor_advance(cursor, sizeof(*ethernet));
  if (!(ethernet->type == 0x0800)) return 0;
  struct ip_t *ip = cursor_advance(cursor, sizeof(*ip));
  if (ip->nextp != IP_UDP) return 0;
  void *_ = cursor_advance(cursor, (ip->hlen << 2) - sizeof(*ip));
  struct udp_t *udp = cursor_advance(cursor, sizeof(*udp));
  if (udp->dport != 4712) return 0;
  struct label_t *label = cursor_advance(cursor, sizeof(*label));
  int zero = 0;
  struct seen *s = seen.lookup(&zero);
  if (s) {
    s->source = ethernet->src;
    s->length = udp -> length;
    s->version = ip->ver;
    s->head = ip->hlen;
    s->ttl = ip->ttl;
    s->address = ip->dst;
    s->kind = label->kind;
    s->rest = label->rest;
    s->number = label->number;
    s->first = load_byte(skb, (u64)label + 2);
  }
  return -1;
}
''')
fn = b.load_func("filter", BPF.SOCKET_FILTER)
BPF.attach_raw_socket(fn, "lo")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    for port, text in ((4711, b"no"), (4712, bytes([0x5a, 0xbc]) + b"xyz" + (4660).to_bytes(2, "big") + b"tail"), (4713, b"no")):
        sender.sendto(text, ("127.0.0.1", port))
raw = socket.socket(fileno=os.dup(fn.sock))
raw.settimeout(5)
packet = raw.recv(2000)
print(packet[42:])
s = b["seen"][0]
print(s.source, s.length, s.version, s.head, s.ttl, hex(s.address), hex(s.kind), hex(s.rest), s.number, chr(s.first))
"""


class Packets(DriverCase):
    def test_a_socket_filter(self):
        need(can_use_kernel_bpf() and shutil.which("ip"), "the kernel engine and a network namespace take root, and ip(8)")
        result = self.driver(FILTER, before=["--backend", "kernel"])
        self.assertEqual(result.stdout.splitlines(), [r"b'Z\xbcxyz\x124tail'", "0 19 4 5 64 0x7f000001 0x5 0xabc 4660 x"],
                         result.stderr)


if __name__ == "__main__":
    main()
