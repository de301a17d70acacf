// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// cap_capable() is asked for each check. The tracepoint of the same name (Linux 6.14) does not tell whether the check
// is one that is written to the audit log.
#define TOOL_CONTAINERS
#include "tool.bpf.h"
#include "functions.bpf.h"
#include "stack_counts.bpf.h"
#include "capable.h"

/* include/linux/security.h */
#define CAP_OPT_NOAUDIT 2
#define CAP_OPT_INSETID 4

const volatile bool with_unaudited = false;
const volatile bool only_once = false;
const volatile u32 own_pid = 0;

struct user_namespace;

struct seen_key {
  u32 pid;
  s32 capability;
};

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 10240);
  __type(key, struct seen_key);
  __type(value, u8);
} seen SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 256 << 10);
} events SEC(".maps");

static __always_inline int checked(void *ctx, s32 capability, u8 audit, u8 in_set_id) {
  u64 id = bpf_get_current_pid_tgid();
  if (!wanted() || id >> 32 == own_pid || (audit == 0 && !with_unaudited)) return 0;
  if (only_once) {
    struct seen_key key = {id >> 32, capability};
    u8 one = 1;
    if (bpf_map_update_elem(&seen, &key, &one, BPF_NOEXIST)) return 0;
  }
  struct capable_event event = {.pid = id >> 32, .tid = id, .capability = capability};
  event.uid = bpf_get_current_uid_gid();
  event.audit = audit, event.in_set_id = in_set_id;
  bpf_get_current_comm(event.comm, sizeof(event.comm));
  struct stack_key stack = {};
  stack_here(ctx, &stack);
  event.kernel_stack = stack.kernel, event.user_stack = stack.user;
  bpf_ringbuf_output(&events, &event, sizeof(event), 0);
  return 0;
}

static __always_inline int on_check(void *ctx, s32 capability, u32 options) {
  return checked(ctx, capability, !(options & CAP_OPT_NOAUDIT), !!(options & CAP_OPT_INSETID));
}
TOOL_ENTRY(check, cap_capable, on_check, (ctx, capability, options), const struct cred *cred, struct user_namespace *target,
           int capability, unsigned int options)

SEC("?tp_btf/cap_capable")
int BPF_PROG(check__tracepoint, const struct cred *cred, struct user_namespace *target, struct user_namespace *holder,
             int capability, int result) {
  return checked(ctx, capability, UNKNOWN, UNKNOWN);
}
