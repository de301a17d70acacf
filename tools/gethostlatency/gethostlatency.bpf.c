// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// getaddrinfo(3), gethostbyname(3), gethostbyname2(3) of the C library: how long a name takes to look up.
#include "tool.bpf.h"
#include "gethostlatency/gethostlatency.h"

struct lookup {
  u64 started_ns;
  char host[80];
};
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 10240);
  __type(key, u64);
  __type(value, struct lookup);
} lookups SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 18);
} events SEC(".maps");

static __always_inline int begin(const void *host) {
  if (!wanted()) return 0;
  u64 id = bpf_get_current_pid_tgid();
  struct lookup lookup = {.started_ns = bpf_ktime_get_ns()};
  bpf_probe_read_user_str(lookup.host, sizeof(lookup.host), host);
  bpf_map_update_elem(&lookups, &id, &lookup, BPF_ANY);
  return 0;
}
static __always_inline int end(void) {
  u64 id = bpf_get_current_pid_tgid();
  struct lookup *lookup = bpf_map_lookup_elem(&lookups, &id);
  if (!lookup) return 0;
  struct lookup_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (event) {
    event->time_ns = bpf_ktime_get_ns();
    event->spent_ns = event->time_ns - lookup->started_ns;
    event->pid = id >> 32, event->reserved = 0;
    bpf_get_current_comm(event->comm, sizeof(event->comm));
    __builtin_memcpy(event->host, lookup->host, sizeof(event->host));
    bpf_ringbuf_submit(event, 0);
  }
  bpf_map_delete_elem(&lookups, &id);
  return 0;
}

SEC("?uprobe/libc.so.6:getaddrinfo")
int BPF_UPROBE(enter_getaddrinfo, const char *host) { return begin(host); }
SEC("?uprobe/libc.so.6:gethostbyname")
int BPF_UPROBE(enter_gethostbyname, const char *host) { return begin(host); }
SEC("?uprobe/libc.so.6:gethostbyname2")
int BPF_UPROBE(enter_gethostbyname2, const char *host) { return begin(host); }
SEC("?uretprobe/libc.so.6:getaddrinfo")
int BPF_URETPROBE(exit_getaddrinfo) { return end(); }
SEC("?uretprobe/libc.so.6:gethostbyname")
int BPF_URETPROBE(exit_gethostbyname) { return end(); }
SEC("?uretprobe/libc.so.6:gethostbyname2")
int BPF_URETPROBE(exit_gethostbyname2) { return end(); }
