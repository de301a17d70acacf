/* Loaded and attached by bench_kernel, by skep and by libbpf: maps of three kinds, global data, a raw tracepoint, and a
 * program that writes records, called by a test run. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 24);
} events SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, __u32);
  __type(value, __u64);
} counts SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 16);
  __type(key, __u32);
  __type(value, __u64);
} slots SEC(".maps");

const volatile __u32 wanted_pid = 1;
__u64 seen;

SEC("raw_tp/sched_process_exec")
int on_exec(void *ctx) {
  __u32 pid = bpf_get_current_pid_tgid() >> 32;
  if (pid != wanted_pid) return 0;
  __u64 one = 1, *count = bpf_map_lookup_elem(&counts, &pid);
  if (count) __sync_fetch_and_add(count, 1);
  else bpf_map_update_elem(&counts, &pid, &one, BPF_ANY);
  seen++;
  return 0;
}

struct record {
  __u64 number;
  char text[24];
};

SEC("tc")
int write_records(struct __sk_buff *ctx) {
  for (int i = 0; i < 1000; i++) {
    struct record *record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);
    if (!record) return 1;
    record->number = i;
    __builtin_memset(record->text, 'x', sizeof(record->text));
    bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
  }
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
