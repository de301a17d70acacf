// A TCP congestion control that keeps its window, and counts how often it is asked.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 8);
  __type(key, __u32);
  __type(value, __u64);
} hits SEC(".maps");

struct sock;
// A part of the kernel's structure, in another order: members are placed by their names.
struct tcp_congestion_ops {
  char name[16];
  void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
  __u32 (*ssthresh)(struct sock *sk);
  __u32 (*undo_cwnd)(struct sock *sk);
};

static __always_inline void count(__u32 slot) {
  __u64 *hit = bpf_map_lookup_elem(&hits, &slot);
  if (hit) __sync_fetch_and_add(hit, 1);
}

SEC("struct_ops") void still_avoid(unsigned long long *ctx) { count(0); }
SEC("struct_ops") __u32 still_ssthresh(unsigned long long *ctx) { return 2; }
SEC("struct_ops") __u32 still_undo(unsigned long long *ctx) { return 10; }

SEC(".struct_ops") struct tcp_congestion_ops skep_still = {
    .name = "skep_still",
    .cong_avoid = (void *)still_avoid,
    .ssthresh = (void *)still_ssthresh,
    .undo_cwnd = (void *)still_undo,
};

char LICENSE[] SEC("license") = "GPL";
