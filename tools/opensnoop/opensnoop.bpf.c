// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// open(2), openat(2), openat2(2): the beginning is remembered, the end tells the result. The path is read at the end,
// when the kernel has brought its page in.
#define TOOL_CONTAINERS
#include "tool.bpf.h"
#include "opensnoop.h"

#define BASE_BYTES __builtin_offsetof(struct open_event, path)

const volatile bool only_failed = false;
const volatile u32 wanted_flags = 0;

struct opening {
  u64 path;
  u32 flags, mode;
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16384);
  __type(key, u64);
  __type(value, struct opening);
} openings SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, struct open_event);
} scratch SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 20);
} events SEC(".maps");

static __always_inline int on_enter(void *ctx, u32 nr, const u64 *args) {
  struct opening opening = {};
#ifdef __NR_open
  if (nr == __NR_open) {
    opening.path = args[0], opening.flags = args[1], opening.mode = args[2];
  } else
#endif
  if (nr == __NR_openat2) {
    struct {
      u64 flags, mode;
    } how = {};
    bpf_probe_read_user(&how, sizeof(how), (void *)args[2]);
    opening.path = args[1], opening.flags = how.flags, opening.mode = how.mode;
  } else {
    opening.path = args[1], opening.flags = args[2], opening.mode = args[3];
  }
  if (wanted_flags && !(opening.flags & wanted_flags)) return 0;
  u64 id = bpf_get_current_pid_tgid();
  bpf_map_update_elem(&openings, &id, &opening, BPF_ANY);
  return 0;
}

static __always_inline int on_exit(void *ctx, u32 nr, s64 ret) {
  u64 id = bpf_get_current_pid_tgid();
  struct opening *opening = bpf_map_lookup_elem(&openings, &id);
  if (!opening) return 0; /* not wanted, or begun before we were attached */
  u32 zero = 0;
  struct open_event *event = bpf_map_lookup_elem(&scratch, &zero);
  if (event && !(only_failed && ret >= 0)) {
    event->time_ns = bpf_ktime_get_ns();
    event->pid = id >> 32, event->tid = id;
    event->uid = bpf_get_current_uid_gid();
    event->result = ret;
    event->flags = opening->flags, event->mode = opening->mode;
    bpf_get_current_comm(event->comm, sizeof(event->comm));
    long length = bpf_probe_read_user_str(event->path, sizeof(event->path), (void *)opening->path);
    if (length <= 0) length = 1, event->path[0] = 0;
    u64 size = BASE_BYTES + length;
    if (size <= sizeof(*event)) bpf_ringbuf_output(&events, event, size, 0);
  }
  bpf_map_delete_elem(&openings, &id);
  return 0;
}

#ifdef __NR_open
#define CALLS(X) X(open) X(openat) X(openat2)
#else
#define CALLS(X) X(openat) X(openat2)
#endif
TOOL_CALLS_ENTER(CALLS, on_enter)
TOOL_CALLS_EXIT(CALLS, on_exit)
