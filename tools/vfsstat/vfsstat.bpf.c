// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Calls of the virtual file system's functions. Without hooks on functions, and in the user engine, the system calls
// that lead there are counted: what the kernel reads and writes on its own account is missing then.
#include "tool.bpf.h"
#include "functions.bpf.h"
#include "vfsstat.h"

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, struct vfs_counts);
} counts SEC(".maps");

static __always_inline int count(u32 call) {
  u32 index = 0;
  struct vfs_counts *all = bpf_map_lookup_elem(&counts, &index);
  if (all && call < VFS_CALLS && wanted()) __sync_fetch_and_add(&all->calls[call], 1);
  return 0;
}

TOOL_ENTRY(kernel_read, vfs_read, count, (VFS_READ))
TOOL_ENTRY(kernel_write, vfs_write, count, (VFS_WRITE))
TOOL_ENTRY(kernel_fsync, vfs_fsync_range, count, (VFS_FSYNC))
TOOL_ENTRY(kernel_open, vfs_open, count, (VFS_OPEN))
TOOL_ENTRY(kernel_create, vfs_create, count, (VFS_CREATE))

#ifdef __NR_open
#define OPENS(X) X(open) X(creat) X(openat) X(openat2)
#define CREATES(X) X(mknod) X(mknodat)
#else
#define OPENS(X) X(openat) X(openat2)
#define CREATES(X) X(mknodat)
#endif
#define READS(X) X(read) X(pread64)
#define WRITES(X) X(write) X(pwrite64)
#define FSYNCS(X) X(fsync) X(fdatasync)

static __always_inline int TOOL_ON_EXIT(void *ctx, u32 nr, s64 ret) {
  if (0 READS(TOOL_IS_CALL)) return count(VFS_READ);
  if (0 WRITES(TOOL_IS_CALL)) return count(VFS_WRITE);
  if (0 FSYNCS(TOOL_IS_CALL)) return count(VFS_FSYNC);
  if (ret < 0) return 0; /* the names were not found */
  if (0 OPENS(TOOL_IS_CALL)) return count(VFS_OPEN);
  if (0 CREATES(TOOL_IS_CALL)) return count(VFS_CREATE);
  return 0;
}
READS(TOOL_USER_EXIT) WRITES(TOOL_USER_EXIT) FSYNCS(TOOL_USER_EXIT) OPENS(TOOL_USER_EXIT) CREATES(TOOL_USER_EXIT)

#define FROM_CALLS(stem, calls)                                                      \
  SEC("?tp_btf/sys_exit") int kernel_##stem##__calls(u64 *ctx) {                     \
    struct pt_regs *regs = (struct pt_regs *)ctx[0];                                 \
    s64 nr = TOOL_SYSCALL_NR(regs);                                                  \
    return !(0 calls(TOOL_IS_CALL)) || tool_is_compat() ? 0 : TOOL_ON_EXIT(ctx, nr, ctx[1]); \
  }
FROM_CALLS(read, READS)
FROM_CALLS(write, WRITES)
FROM_CALLS(fsync, FSYNCS)
FROM_CALLS(open, OPENS)
FROM_CALLS(create, CREATES)
