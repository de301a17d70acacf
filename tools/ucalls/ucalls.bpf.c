// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Calls of methods, counted at the static probes of a language's runtime, and system calls.
//
// With latency a call counts when it returns. Each thread has its frames, numbered by their depth, so recursion counts
// every call; frames that were left without a return (a longjmp of the runtime) are passed over by their names. A return
// without its entry (CPython 3.11 hardly tells any) counts, without time.
#define TOOL_FROM_EXEC
#include "tool.bpf.h"
#include <bpf/usdt.bpf.h>
#include "ucalls/ucalls.h"

const volatile bool with_latency = 0; /* of system calls */
/* Arguments of the probes, from 1; 0: there is none. A text without a length ends with a zero. */
const volatile u32 class_argument = 0, class_length_argument = 0;
const volatile u32 method_argument = 0, method_length_argument = 0;

enum { MOST_FRAMES = 4096, MOST_PASSED_OVER = 16 };

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16384);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct method_key);
  __type(value, struct calls_total);
} methods SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, struct method_key);
} scratch SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH); /* threads that have ended make room */
  __uint(max_entries, 16384);
  __type(key, u32); /* thread */
  __type(value, u32);
} depths SEC(".maps");

struct frame_key {
  u32 tid, depth;
};
struct frame {
  u64 started_ns, name;
};
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 65536);
  __type(key, struct frame_key);
  __type(value, struct frame);
} frames SEC(".maps");

static struct calls_total no_calls;
static u32 no_depth;

static __always_inline u64 argument(struct pt_regs *ctx, u32 number) {
  long value = 0;
  return number && !bpf_usdt_arg(ctx, number - 1, &value) ? value : 0;
}

static __always_inline void read_text(struct pt_regs *ctx, u32 number, u32 length_number, char *to) {
  u64 address = argument(ctx, number), size = METHOD_TEXT;
  if (!address) return;
  if (length_number) size = (u32)argument(ctx, length_number) + 1ull;
  if (size > METHOD_TEXT) size = METHOD_TEXT;
  bpf_probe_read_user_str(to, size, (void *)address);
}

static __always_inline int count_call(struct pt_regs *ctx, u64 spent_ns, bool timed) {
  u32 zero = 0;
  struct method_key *key = bpf_map_lookup_elem(&scratch, &zero);
  if (!key) return 0;
  __builtin_memset(key, 0, sizeof(*key));
  read_text(ctx, class_argument, class_length_argument, key->class_name);
  read_text(ctx, method_argument, method_length_argument, key->method);
  struct calls_total *total = tool_lookup_or_init(&methods, key, &no_calls);
  if (!total) return 0;
  __sync_fetch_and_add(&total->count, 1);
  if (timed)
    __sync_fetch_and_add(&total->total_ns, spent_ns);
  else
    __sync_fetch_and_add(&total->untimed, 1);
  return 0;
}

SEC("?usdt")
int method_counted(struct pt_regs *ctx) { return wanted() ? count_call(ctx, 0, true) : 0; }

SEC("?usdt")
int method_enter(struct pt_regs *ctx) {
  if (!wanted()) return 0;
  u32 tid = bpf_get_current_pid_tgid();
  u32 *depth = tool_lookup_or_init(&depths, &tid, &no_depth);
  if (!depth || *depth >= MOST_FRAMES) return 0;
  struct frame_key key = {tid, (*depth)++};
  struct frame frame = {bpf_ktime_get_ns(), argument(ctx, method_argument)};
  bpf_map_update_elem(&frames, &key, &frame, BPF_ANY);
  return 0;
}

SEC("?usdt")
int method_exit(struct pt_regs *ctx) {
  if (!wanted()) return 0;
  u64 now = bpf_ktime_get_ns(), name = argument(ctx, method_argument);
  u32 tid = bpf_get_current_pid_tgid();
  u32 *depth = bpf_map_lookup_elem(&depths, &tid);
  for (u32 i = 1; depth && i <= *depth && i <= MOST_PASSED_OVER; ++i) {
    struct frame_key key = {tid, *depth - i};
    struct frame *frame = bpf_map_lookup_elem(&frames, &key);
    if (!frame || frame->name != name) continue;
    *depth -= i; /* what lies above is written over */
    return count_call(ctx, now - frame->started_ns, true);
  }
  return count_call(ctx, 0, false);
}

/* ---- system calls, by number */

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, u32);
  __type(value, struct calls_total);
} calls SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH); /* as depths: a thread ends in its last call */
  __uint(max_entries, 16384);
  __type(key, u32); /* thread */
  __type(value, u64);
} begun SEC(".maps");

SEC("?raw_tp/sys_enter")
int call_enter(void *ctx) {
  if (!wanted()) return 0;
  u32 tid = bpf_get_current_pid_tgid();
  u64 now = bpf_ktime_get_ns();
  bpf_map_update_elem(&begun, &tid, &now, BPF_ANY);
  return 0;
}

static __always_inline int count_system_call(s64 nr) {
  if (nr < 0 || !wanted()) return 0;
  u32 tid = bpf_get_current_pid_tgid(), key = nr;
  u64 spent = 0;
  if (with_latency) {
    u64 *start = bpf_map_lookup_elem(&begun, &tid);
    if (!start) return 0;
    spent = bpf_ktime_get_ns() - *start;
  }
  struct calls_total *total = tool_lookup_or_init(&calls, &key, &no_calls);
  if (!total) return 0;
  __sync_fetch_and_add(&total->count, 1);
  __sync_fetch_and_add(&total->total_ns, spent);
  return 0;
}

SEC("?tp_btf/sys_exit")
int kernel_call_exit(u64 *ctx) {
  struct pt_regs *regs = (void *)ctx[0];
  return tool_is_compat() ? 0 : count_system_call(TOOL_SYSCALL_NR(regs));
}

SEC("?tracepoint/raw_syscalls/sys_exit")
int user_call_exit(struct tool_exit_record *ctx) { return count_system_call(ctx->nr); }
