// Writes one numbered record into a small ring for each run, and counts those that found no room.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 4096);
} ring SEC(".maps");

struct record {
  __u64 number;
  char text[40];
};

__u64 written, refused;

SEC("tc") int write_one(struct __sk_buff *ctx) {
  struct record *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
  if (!record) {
    refused++;
    return 1;
  }
  record->number = written++;
  if (record->number % 7 == 3)
    bpf_ringbuf_discard(record, 0);
  else
    bpf_ringbuf_submit(record, 0);
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
