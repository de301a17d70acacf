// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// What is written to a terminal. tty_write() sees all of it; without fentry and kprobes the calls write() and writev()
// are watched, which nearly everything uses.
#include "tool.bpf.h"
#include "functions.bpf.h"
#include "ttysnoop.h"

const volatile u64 wanted_inode = 0;
const volatile u32 wanted_device = 0;
const volatile u32 piece_bytes = 256;
const volatile u32 pieces = 16;

#define SEGMENTS 8 /* of a vector that are looked at */

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, struct tty_piece);
} scratch SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 256 << 10);
} events SEC(".maps");

static __always_inline bool is_wanted_terminal(struct file *file) {
  struct inode *inode = BPF_CORE_READ(file, f_inode);
  return BPF_CORE_READ(inode, i_ino) == wanted_inode && BPF_CORE_READ(inode, i_rdev) == wanted_device;
}

/* Global: the kernel verifies it once, and not at each of its calls. */
__noinline int send_bytes(u64 address, u64 size) {
  u32 zero = 0;
  struct tty_piece *piece = bpf_map_lookup_elem(&scratch, &zero);
  if (!piece) return 0;
  for (u32 i = 0; i < 64; ++i) {
    if (i >= pieces || size == 0) break;
    u64 count = size < piece_bytes ? size : piece_bytes;
    if (count > PIECE_MAX) break;
    if (bpf_probe_read_user(piece->bytes, count, (void *)address)) break;
    piece->count = count;
    bpf_ringbuf_output(&events, piece, __builtin_offsetof(struct tty_piece, bytes) + count, 0);
    address += count, size -= count;
  }
  return 0;
}

static __always_inline void send_vector(const struct iovec *vector, u64 segments, bool of_user) {
  for (u32 i = 0; i < SEGMENTS; ++i) {
    struct iovec one = {};
    if (i >= segments) break;
    if (of_user ? bpf_probe_read_user(&one, sizeof(one), &vector[i])
                : bpf_probe_read_kernel(&one, sizeof(one), &vector[i]))
      break;
    send_bytes((u64)one.iov_base, one.iov_len);
  }
}

static __always_inline u32 kind_of(struct iov_iter *from) {
  if (bpf_core_field_exists(from->iter_type)) return BPF_CORE_READ(from, iter_type);
  return BPF_CORE_READ((struct iov_iter___before_5_14 *)from, type) & ~1u; /* the lowest bit: which way */
}

static __always_inline int on_write(void *ctx, struct kiocb *iocb, struct iov_iter *from) {
  if (!is_wanted_terminal(BPF_CORE_READ(iocb, ki_filp))) return 0;
  u32 type = kind_of(from);
  if (bpf_core_enum_value_exists(enum iter_type, ITER_UBUF) && type == bpf_core_enum_value(enum iter_type, ITER_UBUF)) {
    send_bytes((u64)BPF_CORE_READ(from, ubuf) + BPF_CORE_READ(from, iov_offset), BPF_CORE_READ(from, count));
  } else if (type == bpf_core_enum_value(enum iter_type, ITER_IOVEC)) {
    const struct iovec *vector = bpf_core_field_exists(from->__iov)
                                     ? BPF_CORE_READ(from, __iov)
                                     : BPF_CORE_READ((struct iov_iter___before_6_4 *)from, iov);
    send_vector(vector, BPF_CORE_READ(from, nr_segs), false);
  }
  return 0;
}
TOOL_ENTRY(written, tty_write, on_write, (ctx, iocb, from), struct kiocb *iocb, struct iov_iter *from)

static __always_inline struct file *file_of(u32 fd) {
  struct task_struct *task = (void *)bpf_get_current_task();
  struct fdtable *table = BPF_CORE_READ(task, files, fdt);
  struct file *file = NULL;
  if (fd >= BPF_CORE_READ(table, max_fds)) return NULL;
  bpf_probe_read_kernel(&file, sizeof(file), BPF_CORE_READ(table, fd) + fd);
  return file;
}

SEC("?tp_btf/sys_enter")
int written__calls(u64 *ctx) {
  struct pt_regs *regs = (struct pt_regs *)ctx[0];
  s64 nr = ctx[1];
  if ((nr != __NR_write && nr != __NR_writev) || tool_is_compat()) return 0;
  u64 args[6] = TOOL_SYSCALL_ARGS(regs);
  struct file *file = file_of(args[0]);
  if (!file || !is_wanted_terminal(file)) return 0;
  if (nr == __NR_write)
    send_bytes(args[1], args[2]);
  else
    send_vector((const struct iovec *)args[1], args[2], true);
  return 0;
}
