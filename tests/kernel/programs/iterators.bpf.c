// Iterators: what they write is checked by the test.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, __u64);
} numbers SEC(".maps");

struct bpf_iter_meta {
  struct seq_file *seq;
  __u64 session_id, seq_num;
} __attribute__((preserve_access_index));
struct task_struct {
  int pid, tgid;
} __attribute__((preserve_access_index));
struct bpf_iter__task {
  struct bpf_iter_meta *meta;
  struct task_struct *task;
} __attribute__((preserve_access_index));
struct bpf_iter__bpf_map_elem {
  struct bpf_iter_meta *meta;
  struct bpf_map *map;
  void *key, *value;
} __attribute__((preserve_access_index));

SEC("iter/task") int tasks(struct bpf_iter__task *ctx) {
  struct task_struct *task = ctx->task;
  if (!task) return 0;
  __u64 numbers[] = {task->pid, task->tgid};
  static const char format[] = "%d of %d\n";
  bpf_seq_printf(ctx->meta->seq, format, sizeof format, numbers, sizeof numbers);
  return 0;
}

SEC("iter/bpf_map_elem") int elements(struct bpf_iter__bpf_map_elem *ctx) {
  __u32 *key = ctx->key;
  __u64 *value = ctx->value;
  if (!key || !value) return 0;
  __u64 numbers[] = {*key, *value};
  static const char format[] = "%d=%d\n";
  bpf_seq_printf(ctx->meta->seq, format, sizeof format, numbers, sizeof numbers);
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
