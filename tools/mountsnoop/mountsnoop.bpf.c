// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// mount(2) and umount2(2).
#define TOOL_CONTAINERS
#include "tool.bpf.h"
#include "mountsnoop.h"

struct mounting {
  u64 source, target, type, flags, data;
};
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, u64);
  __type(value, struct mounting);
} mountings SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 18);
} events SEC(".maps");

#ifdef __NR_umount2
#define __NR_umount __NR_umount2 /* the kernel's function of umount2 is called umount */
#endif

static __always_inline int on_enter(void *ctx, u32 nr, const u64 *args) {
  u64 id = bpf_get_current_pid_tgid();
  struct mounting mounting = {};
  if (nr == __NR_mount) {
    mounting.source = args[0], mounting.target = args[1], mounting.type = args[2];
    mounting.flags = args[3], mounting.data = args[4];
  } else {
    mounting.target = args[0], mounting.flags = args[1];
  }
  bpf_map_update_elem(&mountings, &id, &mounting, BPF_ANY);
  return 0;
}

#define TEXT(field)                                                                                  \
  event->field[0] = 0;                                                                               \
  if (mounting->field) bpf_probe_read_user_str(event->field, sizeof(event->field), (void *)mounting->field)

static __always_inline int on_exit(void *ctx, u32 nr, s64 ret) {
  u64 id = bpf_get_current_pid_tgid();
  struct mounting *mounting = bpf_map_lookup_elem(&mountings, &id);
  if (!mounting) return 0;
  struct mount_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (event) {
    event->time_ns = bpf_ktime_get_ns();
    event->pid = id >> 32, event->tid = id;
    event->result = ret;
    event->is_umount = nr != __NR_mount;
    event->flags = mounting->flags;
    bpf_get_current_comm(event->comm, sizeof(event->comm));
    TEXT(source);
    TEXT(target);
    TEXT(type);
    TEXT(data);
    struct task_struct *task = (void *)bpf_get_current_task();
    event->parent = tool_parent();
    event->mount_namespace = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
    event->parent_comm[0] = 0;
    BPF_CORE_READ_STR_INTO(&event->parent_comm, task, real_parent, comm);
    bpf_ringbuf_submit(event, 0);
  }
  bpf_map_delete_elem(&mountings, &id);
  return 0;
}

#define CALLS(X) X(mount) X(umount)
TOOL_CALLS_ENTER(CALLS, on_enter)
TOOL_CALLS_EXIT(CALLS, on_exit)
