// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Allocations that were not freed: of a process by the C library's functions, or of the kernel by its tracepoints.
#include "tool.bpf.h"
#include "memleak/memleak.h"

const volatile u64 least_bytes = 0, most_bytes = ~0ull;
const volatile u64 sample_every = 1;
const volatile bool combined_only = 0, tell_calls = 0;

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1 << 20);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct allocation_key);
  __type(value, struct allocation);
} allocations SEC(".maps");

struct asking {
  u64 size, pointer; /* where posix_memalign() leaves the address; or the block that realloc() takes */
};
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16384);
  __type(key, u64);
  __type(value, struct asking);
} askings SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_STACK_TRACE);
  __uint(max_entries, 16384);
  __uint(key_size, sizeof(u32));
  __uint(value_size, 127 * sizeof(u64));
} stacks SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 10240);
  __type(key, struct combined_key);
  __type(value, struct combined);
} combineds SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 1 << 20);
} calls SEC(".maps");

static const struct combined nothing;

static __always_inline void tell(u32 kind, u64 size, u64 address) {
  if (!tell_calls) return;
  u64 id = bpf_get_current_pid_tgid();
  struct memory_call call = {
      .time_ns = bpf_ktime_get_ns(), .size = size, .address = address, .kind = kind, .pid = id >> 32, .tid = id};
  bpf_get_current_comm(call.comm, sizeof(call.comm));
  bpf_ringbuf_output(&calls, &call, sizeof(call), 0);
}

static __always_inline void combine(const struct allocation *allocation, u64 pid, bool is_freed) {
  struct combined_key key = {allocation->stack, pid};
  struct combined *combined = tool_lookup_or_init(&combineds, &key, &nothing);
  if (!combined) return;
  __sync_fetch_and_add(&combined->bytes, is_freed ? -allocation->size : allocation->size);
  __sync_fetch_and_add(&combined->count, is_freed ? -1 : 1);
}

static __always_inline int ask(u64 size, u64 pointer) {
  if (size < least_bytes || size > most_bytes || !wanted()) return 0;
  if (sample_every > 1 && bpf_ktime_get_ns() % sample_every != 0) return 0;
  u64 id = bpf_get_current_pid_tgid();
  struct asking asking = {.size = size, .pointer = pointer};
  bpf_map_update_elem(&askings, &id, &asking, BPF_ANY);
  tell(MEMORY_ASKED, size, 0);
  return 0;
}

/* What was at the address is gone, whether or not its free() was seen. */
static __always_inline struct allocation *replaced(struct allocation_key *key) {
  struct allocation *before = bpf_map_lookup_elem(&allocations, key);
  if (before && combined_only) combine(before, key->pid, true);
  return before;
}

static __always_inline void keep(void *ctx, u64 address, u64 size, u64 pid, u64 flags) {
  struct allocation_key key = {address, pid};
  struct allocation allocation = {.size = size, .time_ns = bpf_ktime_get_ns()};
  allocation.stack = bpf_get_stackid(ctx, &stacks, flags);
  tell(MEMORY_GIVEN, size, address);
  if (!address) return;
  if (combined_only) replaced(&key);
  if (!bpf_map_update_elem(&allocations, &key, &allocation, BPF_ANY) && combined_only) combine(&allocation, pid, false);
}

static __always_inline int forget(u64 address, u64 pid) {
  struct allocation_key key = {address, pid};
  if (combined_only || tell_calls) {
    struct allocation *before = replaced(&key);
    if (!before) return 0;
    tell(MEMORY_FREED, before->size, address);
  }
  bpf_map_delete_elem(&allocations, &key);
  return 0;
}

static __always_inline int given(struct pt_regs *ctx, bool through_pointer) {
  u64 id = bpf_get_current_pid_tgid();
  struct asking *asking = bpf_map_lookup_elem(&askings, &id);
  if (!asking) return 0;
  u64 address = PT_REGS_RC(ctx), pointer = asking->pointer, size = asking->size;
  bpf_map_delete_elem(&askings, &id);
  if (through_pointer && (address != 0 || bpf_probe_read_user(&address, sizeof(address), (void *)pointer))) return 0;
  keep(ctx, address, size, id >> 32, BPF_F_USER_STACK);
  return 0;
}

SEC("?uprobe") int BPF_UPROBE(malloc_enter, u64 size) { return ask(size, 0); }
SEC("?uprobe") int BPF_UPROBE(calloc_enter, u64 count, u64 size) { return ask(count * size, 0); }
SEC("?uprobe") int BPF_UPROBE(realloc_enter, u64 address, u64 size) {
  forget(address, bpf_get_current_pid_tgid() >> 32);
  return ask(size, 0);
}
SEC("?uprobe") int BPF_UPROBE(mmap_enter, u64 address, u64 size) { return ask(size, 0); }
SEC("?uprobe") int BPF_UPROBE(posix_memalign_enter, u64 pointer, u64 alignment, u64 size) { return ask(size, pointer); }
SEC("?uprobe") int BPF_UPROBE(aligned_alloc_enter, u64 alignment, u64 size) { return ask(size, 0); }
SEC("?uprobe") int BPF_UPROBE(memalign_enter, u64 alignment, u64 size) { return ask(size, 0); }
SEC("?uprobe") int BPF_UPROBE(valloc_enter, u64 size) { return ask(size, 0); }
SEC("?uprobe") int BPF_UPROBE(pvalloc_enter, u64 size) { return ask(size, 0); }
SEC("?uretprobe") int alloc_exit(struct pt_regs *ctx) { return given(ctx, false); }
SEC("?uretprobe") int posix_memalign_exit(struct pt_regs *ctx) { return given(ctx, true); }
SEC("?uprobe") int BPF_UPROBE(free_enter, u64 address) { return forget(address, bpf_get_current_pid_tgid() >> 32); }
SEC("?uprobe") int BPF_UPROBE(munmap_enter, u64 address) { return forget(address, bpf_get_current_pid_tgid() >> 32); }

static __always_inline int kernel_given(void *ctx, u64 address, u64 size) {
  if (size < least_bytes || size > most_bytes) return 0;
  if (sample_every > 1 && bpf_ktime_get_ns() % sample_every != 0) return 0;
  tell(MEMORY_ASKED, size, 0);
  keep(ctx, address, size, 0, 0);
  return 0;
}

/* unsigned long call_site, const void *ptr, [struct kmem_cache *s,] size_t bytes_req, size_t bytes_alloc, ... */
SEC("?raw_tp/kmalloc") int kernel_kmalloc(struct bpf_raw_tracepoint_args *ctx) {
  u64 size = ctx->args[3]; /* since Linux 6.1: call_site, ptr, bytes_req, bytes_alloc */
  return kernel_given(ctx, ctx->args[1], size);
}
/* call_site, ptr, struct kmem_cache *s, gfp_flags, node: the size is the cache's */
SEC("?raw_tp/kmem_cache_alloc") int kernel_cache_alloc(struct bpf_raw_tracepoint_args *ctx) {
  struct kmem_cache *cache = (void *)ctx->args[2];
  return kernel_given(ctx, ctx->args[1], BPF_CORE_READ(cache, size));
}
SEC("?raw_tp/kfree") int kernel_kfree(struct bpf_raw_tracepoint_args *ctx) { return forget(ctx->args[1], 0); }
SEC("?raw_tp/kmem_cache_free") int kernel_cache_free(struct bpf_raw_tracepoint_args *ctx) { return forget(ctx->args[1], 0); }

/* [unsigned long call_site,] bool reserved, bool is_atomic, size_t size, size_t align, void *base_addr, int off, void *ptr, ... */
struct trace_event_raw_percpu_alloc_percpu {
  unsigned long call_site;
} SKEP_KERNEL_STRUCT;
SEC("?raw_tp/percpu_alloc_percpu") int kernel_percpu_alloc(struct bpf_raw_tracepoint_args *ctx) {
  if (bpf_core_field_exists(((struct trace_event_raw_percpu_alloc_percpu *)0)->call_site))
    return kernel_given(ctx, ctx->args[7], ctx->args[3]);
  return kernel_given(ctx, ctx->args[6], ctx->args[2]);
}
SEC("?raw_tp/percpu_free_percpu") int kernel_percpu_free(struct bpf_raw_tracepoint_args *ctx) { return forget(ctx->args[2], 0); }
