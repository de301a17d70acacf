/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

enum { VFS_READ, VFS_WRITE, VFS_FSYNC, VFS_OPEN, VFS_CREATE, VFS_CALLS };
struct vfs_counts {
  __u64 calls[VFS_CALLS];
};
