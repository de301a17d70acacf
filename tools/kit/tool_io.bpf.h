/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Reads and writes by descriptor, on either engine: which file, how many bytes, how long.
 *
 * Kernel: the descriptor's struct file tells name and kind. User engine: the name is the path that open() was given,
 * kept by process and descriptor; a descriptor that was open before is shown by its number. Memory maps, sendfile() and
 * io_uring move bytes without these calls and are not seen.
 *
 * The including program defines io_finished(const struct io_done *done) before TOOL_IO.
 */
#ifndef SKEP_TOOL_IO_BPF_H
#define SKEP_TOOL_IO_BPF_H

#include "tool_file.bpf.h"

enum { IO_NAME_BYTES = 64 };

struct io_done {
  u64 started_ns, ended_ns;
  u32 pid, tid;
  u32 descriptor;
  u32 type; /* of the file: TOOL_S_IFREG, ...; 0: not known */
  s64 bytes;
  bool writes;
  u64 device, inode;
  char name[IO_NAME_BYTES];
};

struct io_call {
  u64 started_ns, descriptor;
};
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16384);
  __type(key, u64);
  __type(value, struct io_call);
} io_calls SEC(".maps");

struct io_name {
  char text[IO_NAME_BYTES];
};
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 16384);
  __type(key, u64); /* process and descriptor */
  __type(value, struct io_name);
} io_names SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16384);
  __type(key, u64);
  __type(value, struct io_name);
} io_opening SEC(".maps");

struct io_path {
  u32 begin; /* in memory that verifiers do not follow: the loop below has one state then, not one for each place */
  char text[512];
};
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, struct io_path);
} io_paths SEC(".maps");

/* The last part of a path. */
static __always_inline void io_last_part(struct io_name *name, u64 address) {
  u32 zero = 0;
  struct io_path *path = bpf_map_lookup_elem(&io_paths, &zero);
  if (!path) return;
  path->begin = 0;
  long length = bpf_probe_read_user_str(path->text, 256, (void *)address);
  for (u32 i = 0; i < 255; i++) {
    if ((long)i >= length - 1) break;
    if (path->text[i] == '/') path->begin = i + 1;
  }
  if (length > 0) bpf_probe_read_kernel_str(name->text, sizeof(name->text), &path->text[path->begin & 255]);
}

static __always_inline int io_open_enter(u64 path) {
  u64 id = bpf_get_current_pid_tgid();
  struct io_name name = {};
  io_last_part(&name, path);
  bpf_map_update_elem(&io_opening, &id, &name, BPF_ANY);
  return 0;
}
static __always_inline int io_open_exit(s64 ret) {
  u64 id = bpf_get_current_pid_tgid(), key = (id & ~0xffffffffull) | (u32)ret;
  struct io_name *name = bpf_map_lookup_elem(&io_opening, &id);
  if (name && ret >= 0) bpf_map_update_elem(&io_names, &key, name, BPF_ANY);
  bpf_map_delete_elem(&io_opening, &id);
  return 0;
}

SEC("?tracepoint/syscalls/sys_enter_openat")
int user_enter_openat(struct tool_enter_record *ctx) { return io_open_enter(ctx->args[1]); }
SEC("?tracepoint/syscalls/sys_exit_openat")
int user_exit_openat(struct tool_exit_record *ctx) { return io_open_exit(ctx->ret); }
#ifdef __NR_open
SEC("?tracepoint/syscalls/sys_enter_open")
int user_enter_open(struct tool_enter_record *ctx) { return io_open_enter(ctx->args[0]); }
SEC("?tracepoint/syscalls/sys_exit_open")
int user_exit_open(struct tool_exit_record *ctx) { return io_open_exit(ctx->ret); }
#endif

static __always_inline int io_enter(void *ctx, u32 nr, const u64 *args) {
  u64 id = bpf_get_current_pid_tgid();
  struct io_call call = {.started_ns = bpf_ktime_get_ns(), .descriptor = args[0]};
  bpf_map_update_elem(&io_calls, &id, &call, BPF_ANY);
  return 0;
}

static __always_inline bool io_writes(u32 nr) {
  return nr == __NR_write || nr == __NR_pwrite64 || nr == __NR_writev || nr == __NR_pwritev || nr == __NR_pwritev2;
}

#define TOOL_IO_CALLS(X) \
  X(read) X(pread64) X(readv) X(preadv) X(preadv2) X(write) X(pwrite64) X(writev) X(pwritev) X(pwritev2)

#define TOOL_IO                                                                                       \
  static __always_inline int io_exit(void *ctx, u32 nr, s64 ret) {                                    \
    u64 id = bpf_get_current_pid_tgid();                                                              \
    struct io_call *call = bpf_map_lookup_elem(&io_calls, &id);                                       \
    if (!call) return 0;                                                                              \
    struct io_done done = {.started_ns = call->started_ns, .ended_ns = bpf_ktime_get_ns(),            \
                           .pid = id >> 32, .tid = id, .descriptor = call->descriptor, .bytes = ret,  \
                           .writes = io_writes(nr)};                                                  \
    bpf_map_delete_elem(&io_calls, &id);                                                              \
    if (ret < 0) return 0;                                                                            \
    if (in_kernel) {                                                                                  \
      struct file *file = tool_file(done.descriptor);                                                 \
      if (!file) return 0;                                                                            \
      done.type = tool_file_type(file);                                                               \
      done.inode = BPF_CORE_READ(file, f_inode, i_ino);                                               \
      done.device = BPF_CORE_READ(file, f_inode, i_sb, s_dev);                                        \
      struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);                                     \
      bpf_probe_read_kernel_str(done.name, sizeof(done.name), BPF_CORE_READ(dentry, d_name.name));    \
    } else {                                                                                          \
      u64 key = (id & ~0xffffffffull) | done.descriptor;                                              \
      struct io_name *name = bpf_map_lookup_elem(&io_names, &key);                                    \
      if (name) {                                                                                     \
        done.type = TOOL_S_IFREG;                                                                     \
        __builtin_memcpy(done.name, name->text, sizeof(done.name));                                   \
      }                                                                                               \
    }                                                                                                 \
    io_finished(&done);                                                                               \
    return 0;                                                                                         \
  }                                                                                                   \
  TOOL_CALLS_ENTER(TOOL_IO_CALLS, io_enter)                                                           \
  TOOL_CALLS_EXIT(TOOL_IO_CALLS, io_exit)

#endif
