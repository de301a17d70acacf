// Programs that do the same through different hooks: a load takes one of each group.
#include "common.h"

/* As skep/one_of.h has it. */
#define SKEP_ONE_OF(name) __attribute__((btf_decl_tag("skep:one_of:" name)))

char LICENSE[] SEC("license") = "GPL";

SEC("tp/syscalls/sys_enter_getppid") int always(void *ctx) { return 0; }

/* The second fits. */
SEC("?fentry/do_exit") SKEP_ONE_OF("ends") int ends_in_a_kernel(void *ctx) { return 0; }
SEC("?tp/sched/sched_process_exit") SKEP_ONE_OF("ends") int ends_in_a_tree(void *ctx) { return 0; }

/* Nothing fits, and all are optional. */
SEC("?kprobe/finish_task_switch") SKEP_ONE_OF("reads") int reads(void *ctx) { return 0; }
