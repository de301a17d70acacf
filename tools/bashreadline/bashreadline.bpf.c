// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// What readline() gives back to a shell. Where it is depends on the shell: the tool attaches it.
#include "tool.bpf.h"
#include "bashreadline/bashreadline.h"

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 18);
} events SEC(".maps");

SEC("?uretprobe")
int BPF_URETPROBE(readline_returns, const char *line) {
  char comm[16] = {};
  bpf_get_current_comm(comm, sizeof(comm));
  if (comm[0] != 'b' || comm[1] != 'a' || comm[2] != 's' || comm[3] != 'h' || comm[4]) return 0;
  if (!line || !wanted()) return 0; /* end of file */
  struct line_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
  if (!event) return 0;
  event->pid = bpf_get_current_pid_tgid() >> 32, event->reserved = 0;
  event->line[0] = 0;
  bpf_probe_read_user_str(event->line, sizeof(event->line), line);
  bpf_ringbuf_submit(event, 0);
  return 0;
}
