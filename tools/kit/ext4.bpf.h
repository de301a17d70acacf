/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Beginnings and ends of ext4's reads, writes, opens and fsyncs, for ext4slower and ext4dist, which define ext4_done().
 * ext4 is often a module, whose functions kprobes reach.
 */
#ifndef SKEP_TOOL_EXT4_BPF_H
#define SKEP_TOOL_EXT4_BPF_H
#include "ext4.h"
#include "functions.bpf.h"

struct ext4_call {
  u64 begun_ns, offset;
  struct file *file;
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 10240);
  __type(key, u32);
  __type(value, struct ext4_call);
} calls SEC(".maps");

static __always_inline void ext4_done(void *ctx, u32 operation, struct ext4_call *call, s64 result, u64 now);

static __always_inline int ext4_begin(struct file *file, u64 offset) {
  if (!wanted()) return 0;
  u32 tid = bpf_get_current_pid_tgid();
  struct ext4_call call = {bpf_ktime_get_ns(), offset, file};
  bpf_map_update_elem(&calls, &tid, &call, BPF_ANY);
  return 0;
}

static __always_inline int ext4_end(void *ctx, u32 operation, s64 result) {
  u32 tid = bpf_get_current_pid_tgid();
  struct ext4_call *call = bpf_map_lookup_elem(&calls, &tid);
  if (!call) return 0;
  ext4_done(ctx, operation, call, result, bpf_ktime_get_ns());
  bpf_map_delete_elem(&calls, &tid);
  return 0;
}

static __always_inline int ext4_iter(struct kiocb *iocb) {
  return ext4_begin(BPF_CORE_READ(iocb, ki_filp), BPF_CORE_READ(iocb, ki_pos));
}

static __always_inline int ext4_read_end(void *ctx, s64 result) { return ext4_end(ctx, EXT4_READ, result); }
static __always_inline int ext4_write_end(void *ctx, s64 result) { return ext4_end(ctx, EXT4_WRITE, result); }
static __always_inline int ext4_open_end(void *ctx, s64 result) { return ext4_end(ctx, EXT4_OPEN, result); }
static __always_inline int ext4_fsync_end(void *ctx, s64 result) { return ext4_end(ctx, EXT4_FSYNC, result); }

TOOL_ENTRY(read, ext4_file_read_iter, ext4_iter, (iocb), struct kiocb *iocb)
TOOL_ENTRY(write, ext4_file_write_iter, ext4_iter, (iocb), struct kiocb *iocb)
TOOL_ENTRY(open, ext4_file_open, ext4_begin, (file, 0), struct inode *inode, struct file *file)
TOOL_ENTRY(fsync, ext4_sync_file, ext4_begin, (file, 0), struct file *file)
TOOL_RETURN(read_end, ext4_file_read_iter, ext4_read_end)
TOOL_RETURN(write_end, ext4_file_write_iter, ext4_write_end)
TOOL_RETURN(open_end, ext4_file_open, ext4_open_end)
TOOL_RETURN(fsync_end, ext4_sync_file, ext4_fsync_end)

#endif
