/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * From a descriptor of the current process to its file or socket, read with care. The user engine has sockets only.
 */
#ifndef SKEP_TOOL_FILE_BPF_H
#define SKEP_TOOL_FILE_BPF_H

#include "tool.bpf.h"

#define TOOL_S_IFMT 0170000
#define TOOL_S_IFSOCK 0140000
#define TOOL_S_IFREG 0100000

static __always_inline struct file *tool_file(s32 descriptor) {
  struct task_struct *task = (void *)bpf_get_current_task();
  struct fdtable *table = BPF_CORE_READ(task, files, fdt);
  if (descriptor < 0 || (u32)descriptor >= BPF_CORE_READ(table, max_fds)) return 0;
  struct file **files = BPF_CORE_READ(table, fd), *file = 0;
  bpf_probe_read_kernel(&file, sizeof(file), &files[descriptor]);
  return file;
}

static __always_inline u32 tool_file_type(struct file *file) {
  return BPF_CORE_READ(file, f_inode, i_mode) & TOOL_S_IFMT;
}

static __always_inline struct sock *tool_socket(s32 descriptor) {
  struct file *file = tool_file(descriptor);
  if (!file || tool_file_type(file) != TOOL_S_IFSOCK) return 0;
  struct socket *socket = BPF_CORE_READ(file, private_data);
  return BPF_CORE_READ(socket, sk);
}

#endif
