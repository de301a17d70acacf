// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Counts execve calls by user, from a user id on that the loader sets: what examples/skeleton/exec_counts.cpp loads.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct user {
  __u32 uid;
};

struct activity {
  __u64 calls;
  char last_command[16];
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, struct user);
  __type(value, struct activity);
} users SEC(".maps");

const volatile __u32 first_uid = 0;  // a constant of the program, set before it is loaded
__u64 calls = 0;                     // a variable, read while it runs
__u64 weight = 1;

SEC("tracepoint/syscalls/sys_enter_execve")
int count_execs(void *ctx) {
  struct user user = {.uid = bpf_get_current_uid_gid()};
  if (user.uid < first_uid) return 0;
  __sync_fetch_and_add(&calls, weight);
  struct activity *activity = bpf_map_lookup_elem(&users, &user);
  if (!activity) {
    struct activity first = {};
    bpf_map_update_elem(&users, &user, &first, BPF_NOEXIST);
    activity = bpf_map_lookup_elem(&users, &user);
    if (!activity) return 0;
  }
  __sync_fetch_and_add(&activity->calls, 1);
  bpf_get_current_comm(activity->last_command, sizeof activity->last_command);
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
