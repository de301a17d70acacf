/* Packets by hand: an XDP program that counts and rewrites, tc and socket filter programs that look. */
#include "common.h"

struct xdp_md {
  __u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
} __attribute__((preserve_access_index));
struct __sk_buff {
  __u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority, ingress_ifindex,
      ifindex, tc_index, cb[5], hash, tc_classid, data, data_end;
} __attribute__((preserve_access_index));

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u64);
} packets SEC(".maps");

SEC("xdp")
int answer(struct xdp_md* ctx) {
  __u8 *data = (void*)(long)ctx->data, *end = (void*)(long)ctx->data_end;
  __u32 key = 0;
  __u64* count = bpf_map_lookup_elem(&packets, &key);
  if (count) *count += 1;
  if (data + 14 > end) return 0;                      /* XDP_ABORTED */
  if (data[12] != 0x08 || data[13] != 0x00) return 2; /* XDP_PASS */
  for (int i = 0; i < 6; i++) {
    __u8 byte = data[i];
    data[i] = data[6 + i];
    data[6 + i] = byte;
  }
  return 3; /* XDP_TX */
}

SEC("tc")
int mark(struct __sk_buff* skb) {
  skb->mark = skb->len;
  return skb->protocol == 0x0008 && skb->data_end - skb->data >= 14 ? 0 : 2;
}

SEC("socket")
int length(struct __sk_buff* skb) { return skb->len; }

SEC("raw_tp/sys_enter")
int sum(struct { __u64 args[2]; } * ctx) { return ctx->args[0] + ctx->args[1]; }

char LICENSE[] SEC("license") = "GPL";
