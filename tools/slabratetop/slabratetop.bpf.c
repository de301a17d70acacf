// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// The tracepoint knows the cache since Linux 6.1 (slabratetop.cpp asks this kernel); before, the functions are asked,
// of which there is one for memory near a CPU.
#include "tool.bpf.h"
#include "functions.bpf.h"
#include "slabratetop.h"

const static struct cache_use zero;

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 4096);
  __type(key, struct cache_key);
  __type(value, struct cache_use);
} caches SEC(".maps");

/* The map takes its own memory from slabs, in the same call: a CPU that is here already is not counted again. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, u32);
} inside SEC(".maps");

static __always_inline int allocated(struct kmem_cache *cache) {
  if (!wanted()) return 0;
  u32 index = 0;
  u32 *busy = bpf_map_lookup_elem(&inside, &index);
  if (!busy || *busy) return 0;
  *busy = 1;
  struct cache_key key = {};
  bpf_probe_read_kernel_str(key.name, sizeof(key.name), BPF_CORE_READ(cache, name));
  struct cache_use *use = tool_lookup_or_init(&caches, &key, &zero);
  if (use) {
    __sync_fetch_and_add(&use->count, 1);
    __sync_fetch_and_add(&use->bytes, BPF_CORE_READ(cache, size));
  }
  *busy = 0;
  return 0;
}

SEC("?tp_btf/kmem_cache_alloc")
int BPF_PROG(told, unsigned long call_site, const void *pointer, struct kmem_cache *cache) { return allocated(cache); }

static __always_inline int on_call(void *ctx, struct kmem_cache *cache) { return allocated(cache); }
TOOL_ENTRY(asked, kmem_cache_alloc, on_call, (ctx, cache), struct kmem_cache *cache)
TOOL_ENTRY(asked_near, kmem_cache_alloc_node, on_call, (ctx, cache), struct kmem_cache *cache)
