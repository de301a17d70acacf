// Functions and types that live in a module (sch_ingress), where the kernel has it as one.
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

struct ingress_sched_data {
  void *block;
} __attribute__((preserve_access_index));
struct no_such_structure_anywhere {
  int member;
} __attribute__((preserve_access_index));

__u64 has_type, has_nothing, size, calls;

SEC("syscall") int look(void *ctx) {
  has_type = bpf_core_type_exists(struct ingress_sched_data);
  has_nothing = bpf_core_type_exists(struct no_such_structure_anywhere);
  size = bpf_core_type_size(struct ingress_sched_data);
  return 0;
}

SEC("fentry/ingress_init") int at_entry(unsigned long long *ctx) {
  __sync_fetch_and_add(&calls, 1);
  return 0;
}
SEC("fexit/sch_ingress:ingress_init") int at_return(unsigned long long *ctx) {
  __sync_fetch_and_add(&calls, 100);
  return 0;
}
