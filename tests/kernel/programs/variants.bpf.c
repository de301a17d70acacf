// Programs that do the same through different hooks: a load takes one of each group.
#include "vmlinux_part.h"

#include <bpf/bpf_helpers.h>
/* As skep/one_of.h has it. */
#define SKEP_ONE_OF(name) __attribute__((btf_decl_tag("skep:one_of:" name)))

char LICENSE[] SEC("license") = "GPL";

/* The second fits; the third would, too. */
SEC("?tp_btf/no_such_tracepoint") SKEP_ONE_OF("ends") int ends_first(void *ctx) { return 0; }
SEC("?tp/sched/sched_process_exit") SKEP_ONE_OF("ends") int ends_second(void *ctx) { return 0; }
SEC("?raw_tp/sched_process_exit") SKEP_ONE_OF("ends") int ends_third(void *ctx) { return 0; }

/* Nothing fits, and all are optional. */
SEC("?tp/no_such/event") SKEP_ONE_OF("extra") int extra(void *ctx) { return 0; }

/* Not in a group: loaded when it is named. */
SEC("?tp/sched/sched_process_fork") int asked_for(void *ctx) { return 0; }

SEC("tp/syscalls/sys_enter_getppid") int always(void *ctx) { return 0; }
