/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Packets as BCC's networking programs read them: a cursor that is advanced from header to header, and headers whose fields
 * are numbers, most significant bit first.
 *
 *   u8 *cursor = 0;
 *   struct ethernet_t *ethernet = cursor_advance(cursor, sizeof(*ethernet));
 *   if (ethernet->type != 0x0800) return 0;
 *
 * The pointers are offsets in the packet. `ethernet->type` becomes skep_packet_get(skb, ethernet, 96, 16) before clang reads
 * the source (src/compile/packet_reads.cpp), so fields are declared in the order of their bits on the wire: what the
 * compiler makes of them is only their size. Sources declare headers of their own with BPF_PACKET_HEADER behind them.
 */
#ifndef SKEP_PACKETS_H
#define SKEP_PACKETS_H

#define BPF_PACKET_HEADER __attribute__((packed))

struct ethernet_t {
  unsigned long long dst : 48, src : 48;
  unsigned int type : 16;
} BPF_PACKET_HEADER;

struct dot1q_t {
  unsigned short pri : 3, cfi : 1, vlanid : 12, type;
} BPF_PACKET_HEADER;

struct arp_t {
  unsigned short htype, ptype;
  unsigned char hlen, plen;
  unsigned short oper;
  unsigned long long sha : 48, spa : 32, tha : 48;
  unsigned int tpa;
} BPF_PACKET_HEADER;

struct ip_t {
  unsigned char ver : 4, hlen : 4, tos;
  unsigned short tlen, identification, ffo_unused : 1, df : 1, mf : 1, foffset : 13;
  unsigned char ttl, nextp;
  unsigned short hchecksum;
  unsigned int src, dst;
} BPF_PACKET_HEADER;

struct ip6_t {
  unsigned int ver : 4, priority : 8, flow_label : 20;
  unsigned short payload_len;
  unsigned char next_header, hop_limit;
  unsigned long long src_hi, src_lo, dst_hi, dst_lo;
} BPF_PACKET_HEADER;

struct ip6_opt_t {
  unsigned char next_header, ext_len, pad[6];
} BPF_PACKET_HEADER;

struct icmp_t {
  unsigned char type, code;
  unsigned short checksum;
} BPF_PACKET_HEADER;

struct icmp6_t {
  unsigned char type, code;
  unsigned short checksum;
} BPF_PACKET_HEADER;

struct udp_t {
  unsigned short sport, dport, length, crc;
} BPF_PACKET_HEADER;

struct tcp_t {
  unsigned short src_port, dst_port;
  unsigned int seq_num, ack_num;
  unsigned char offset : 4, reserved : 4;
  unsigned char flag_cwr : 1, flag_ece : 1, flag_urg : 1, flag_ack : 1, flag_psh : 1, flag_rst : 1, flag_syn : 1, flag_fin : 1;
  unsigned short rcv_wnd, cksum, urg_ptr;
} BPF_PACKET_HEADER;

struct vxlan_t {
  unsigned int rsv1 : 4, iflag : 1, rsv2 : 3, rsv3 : 24, key : 24, rsv4 : 8;
} BPF_PACKET_HEADER;

struct vxlan_gbp_t {
  unsigned int gflag : 1, rsv1 : 3, iflag : 1, rsv2 : 3, rsv3 : 1, dflag : 1, rsv4 : 1, aflag : 1, rsv5 : 3, tag : 16;
  unsigned int key : 24, rsv6 : 8;
} BPF_PACKET_HEADER;

/* Where the cursor was; then it lies behind `length` bytes. Numbers, for arithmetic on a null pointer has no meaning in C. */
#define cursor_advance(cursor, length)                                          \
  ({                                                                            \
    void *skep_here = (void *)(unsigned long)(cursor);                          \
    (cursor) = (void *)((unsigned long)(cursor) + (unsigned long)(length));     \
    skep_here;                                                                  \
  })

/* Big-endian numbers of the packet. What lies behind its end ends the program with 0. */
unsigned long long load_byte(void *skb, unsigned long long offset) asm("llvm.bpf.load.byte");
unsigned long long load_half(void *skb, unsigned long long offset) asm("llvm.bpf.load.half");
unsigned long long load_word(void *skb, unsigned long long offset) asm("llvm.bpf.load.word");

static __attribute__((always_inline, unused)) unsigned long long load_dword(void *skb, unsigned long long offset) {
  return load_word(skb, offset) << 32 | load_word(skb, offset + 4);
}

/* `bytes` is a constant. */
static __attribute__((always_inline, unused)) unsigned long long skep_load_bytes(void *skb, unsigned long long offset,
                                                                                 unsigned long long bytes) {
  unsigned long long out = 0;
  if (bytes & 8) return load_dword(skb, offset);
  if (bytes & 4) out = load_word(skb, offset), offset += 4;
  if (bytes & 2) out = out << 16 | load_half(skb, offset), offset += 2;
  if (bytes & 1) out = out << 8 | load_byte(skb, offset);
  return out;
}

/* `bits` bits of a header; the first is bit `first`, 0 being the most significant bit of its first byte. Constants. */
static __attribute__((always_inline, unused)) unsigned long long skep_packet_get(void *skb, const void *header,
                                                                                 unsigned long long first,
                                                                                 unsigned long long bits) {
  const unsigned long long before = first % 8, bytes = (before + bits + 7) / 8;
  const unsigned long long all = skep_load_bytes(skb, (unsigned long)header + first / 8, bytes);
  return all >> (bytes * 8 - before - bits) & (bits < 64 ? (1ull << bits) - 1 : ~0ull);
}

/* Writes them; the bits around them stay. The packet may be another one afterwards: the cursor stays what it is. */
static __attribute__((always_inline, unused)) void skep_packet_set(void *skb, const void *header, unsigned long long first,
                                                                   unsigned long long bits, unsigned long long value) {
  const unsigned long long before = first % 8, bytes = (before + bits + 7) / 8, after = bytes * 8 - before - bits;
  const unsigned long long offset = (unsigned long)header + first / 8;
  const unsigned long long mask = (bits < 64 ? (1ull << bits) - 1 : ~0ull) << after;
  unsigned char text[8];
  unsigned long long all = value << after & mask;
  if (before != 0 || after != 0) all |= skep_load_bytes(skb, offset, bytes) & ~mask;
#pragma clang loop unroll(full)
  for (int i = 0; i < 8; i++)
    if (i < bytes) text[i] = all >> ((bytes - 1 - i) * 8);
  bpf_skb_store_bytes(skb, offset, text, bytes, 0);
}

/* incr_cksum_l3(&ip->hchecksum, before, after) becomes this with `skb` in front: a number of the packet has changed that the
 * checksum covers. Numbers of fields are the machine's, the helpers want them as they lie in the packet. */
#define skep_as_in_packet(number)                             \
  (sizeof(number) == 2   ? __builtin_bswap16((__u16)(number)) \
   : sizeof(number) == 4 ? __builtin_bswap32((__u32)(number)) \
                         : (number))
#define skep_incr_cksum_l3(skb, where, before, after)                                                          \
  bpf_l3_csum_replace((skb), (unsigned long)(where), skep_as_in_packet(before), skep_as_in_packet(after), \
                      sizeof(after))
#define skep_incr_cksum_l4(skb, where, before, after, is_pseudo)                                               \
  bpf_l4_csum_replace((skb), (unsigned long)(where), skep_as_in_packet(before), skep_as_in_packet(after), \
                      ((is_pseudo) ? 0x10 : 0) | sizeof(after))

#endif
