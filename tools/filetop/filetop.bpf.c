// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Reads and writes counted by thread and file.
#include "tool_io.bpf.h"
#include "filetop/filetop.h"

const volatile bool all_files = 0;

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 10240);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct file_key);
  __type(value, struct file_totals);
} files SEC(".maps");

static struct file_totals nothing;

static __always_inline void io_finished(const struct io_done *done) {
  if (!all_files && done->type != TOOL_S_IFREG) return;
  struct file_key key = {.device = done->device, .inode = done->inode, .pid = done->pid, .tid = done->tid};
  key.type = done->type == TOOL_S_IFREG ? 'R' : done->type == TOOL_S_IFSOCK ? 'S' : 'O';
  if (!in_kernel) key.descriptor = done->descriptor;
  __builtin_memcpy(key.name, done->name, sizeof(key.name));
  struct file_totals *totals = tool_lookup_or_init(&files, &key, &nothing);
  if (!totals) return;
  if (!totals->comm[0]) bpf_get_current_comm(totals->comm, sizeof(totals->comm));
  if (done->writes) {
    __sync_fetch_and_add(&totals->writes, 1);
    __sync_fetch_and_add(&totals->written_bytes, done->bytes);
  } else {
    __sync_fetch_and_add(&totals->reads, 1);
    __sync_fetch_and_add(&totals->read_bytes, done->bytes);
  }
}
TOOL_IO
