// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// The stat(2) family, by path: stat, lstat, newfstatat, statx, statfs.
#include "tool.bpf.h"
#include "statsnoop.h"

#define BASE_BYTES __builtin_offsetof(struct stat_event, path)

const volatile bool only_failed = 0;

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16384);
  __type(key, u64);
  __type(value, u64);
} paths SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, struct stat_event);
} scratch SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 20);
} events SEC(".maps");

static __always_inline int on_enter(void *ctx, u32 nr, const u64 *args) {
  u64 id = bpf_get_current_pid_tgid();
  u64 path = nr == __NR_newfstatat || nr == __NR_statx ? args[1] : args[0];
  bpf_map_update_elem(&paths, &id, &path, BPF_ANY);
  return 0;
}

static __always_inline int on_exit(void *ctx, u32 nr, s64 ret) {
  u64 id = bpf_get_current_pid_tgid();
  u64 *path = bpf_map_lookup_elem(&paths, &id);
  if (!path) return 0;
  u32 zero = 0;
  struct stat_event *event = bpf_map_lookup_elem(&scratch, &zero);
  if (event && !(only_failed && ret >= 0)) {
    event->time_ns = bpf_ktime_get_ns();
    event->pid = id >> 32;
    event->result = ret;
    bpf_get_current_comm(event->comm, sizeof(event->comm));
    long length = bpf_probe_read_user_str(event->path, sizeof(event->path), (void *)*path);
    if (length <= 0) length = 1, event->path[0] = 0;
    u64 size = BASE_BYTES + length;
    if (size <= sizeof(*event)) bpf_ringbuf_output(&events, event, size, 0);
  }
  bpf_map_delete_elem(&paths, &id);
  return 0;
}

/* Tracepoints are named as the kernel's functions: sys_enter_newstat. */
#define __NR_newstat __NR_stat
#define __NR_newlstat __NR_lstat
#ifdef __NR_stat
#define CALLS(X) X(newstat) X(newlstat) X(newfstatat) X(statx) X(statfs)
#else
#define CALLS(X) X(newfstatat) X(statx) X(statfs)
#endif
TOOL_CALLS_ENTER(CALLS, on_enter)
TOOL_CALLS_EXIT(CALLS, on_exit)
