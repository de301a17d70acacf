// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// Pages that come into the cache while a task reads ahead, and how long it takes until somebody uses them.
#include "tool.bpf.h"
#include "functions.bpf.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 10240);
  __type(key, u32);
  __type(value, u8);
} reading_ahead SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 262144);
  __type(key, u64);
  __type(value, u64);
} births SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, s64);
} unused SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, struct log2_histogram);
} ages SEC(".maps");

static __always_inline int on_begin(void *ctx) {
  u32 tid = bpf_get_current_pid_tgid();
  u8 one = 1;
  if (wanted()) bpf_map_update_elem(&reading_ahead, &tid, &one, BPF_ANY);
  return 0;
}

static __always_inline int on_end(void *ctx, s64 result) {
  u32 tid = bpf_get_current_pid_tgid();
  bpf_map_delete_elem(&reading_ahead, &tid);
  return 0;
}

static __always_inline int on_page(void *ctx, u64 page) {
  u32 tid = bpf_get_current_pid_tgid(), index = 0;
  u64 now = bpf_ktime_get_ns();
  if (!page || !bpf_map_lookup_elem(&reading_ahead, &tid)) return 0;
  s64 *count = bpf_map_lookup_elem(&unused, &index);
  if (!bpf_map_update_elem(&births, &page, &now, BPF_ANY) && count) __sync_fetch_and_add(count, 1);
  return 0;
}

static __always_inline int on_use(void *ctx, u64 page) {
  u32 index = 0;
  u64 *birth = bpf_map_lookup_elem(&births, &page);
  s64 *count = bpf_map_lookup_elem(&unused, &index);
  struct log2_histogram *age = bpf_map_lookup_elem(&ages, &index);
  if (!birth || !count || !age) return 0;
  tool_observe(age, (bpf_ktime_get_ns() - *birth) / 1000000);
  __sync_fetch_and_add(count, -1);
  bpf_map_delete_elem(&births, &page);
  return 0;
}

TOOL_ENTRY(begin, page_cache_ra_unbounded, on_begin, (ctx))
TOOL_ENTRY(begin, __do_page_cache_readahead, on_begin, (ctx))
TOOL_RETURN(end, page_cache_ra_unbounded, on_end)
TOOL_RETURN(end, __do_page_cache_readahead, on_end)
/* Large folios (Linux 5.18) have a way of their own. */
TOOL_ENTRY(maybe_large, page_cache_ra_order, on_begin, (ctx))
TOOL_RETURN(maybe_large_end, page_cache_ra_order, on_end)
TOOL_RETURN(page, filemap_alloc_folio_noprof, on_page)
TOOL_RETURN(page, filemap_alloc_folio, on_page)
TOOL_RETURN(page, __page_cache_alloc, on_page)
TOOL_ENTRY(used, folio_mark_accessed, on_use, (ctx, (u64)page), void *page)
TOOL_ENTRY(used, mark_page_accessed, on_use, (ctx, (u64)page), void *page)
