// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
//
// What happens to the page cache, counted at four places: pages that are used, pages that come in, pages that become
// dirty, buffers that become dirty.
//
// Without functions the tracepoints of the same places count: all but the use of pages have one, and reads have one
// that tells how many pages they want (mm_filemap_get_pages, Linux 6.9), so uses by writes are missing then.
#include "tool.bpf.h"
#include "functions.bpf.h"
#include "cachestat.h"

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, struct page_counts);
} counts SEC(".maps");

#define COUNT(member, number)                                         \
  ({                                                                  \
    u32 index = 0;                                                    \
    struct page_counts *all = bpf_map_lookup_elem(&counts, &index);   \
    if (all && wanted()) __sync_fetch_and_add(&all->member, number);  \
    0;                                                                \
  })

static __always_inline int on_access(void) { return COUNT(accessed, 1); }
TOOL_ENTRY(accessed, folio_mark_accessed, on_access, ())
TOOL_ENTRY(accessed, mark_page_accessed, on_access, ())
SEC("?tp_btf/mm_filemap_get_pages")
int BPF_PROG(accessed__tracepoint, struct address_space *mapping, unsigned long first, unsigned long end) {
  return COUNT(accessed, end - first);
}

static __always_inline int on_add(void) { return COUNT(added, 1); }
TOOL_ENTRY(added, filemap_add_folio, on_add, ())
TOOL_ENTRY(added, add_to_page_cache_lru, on_add, ())
SEC("?raw_tp/mm_filemap_add_to_page_cache")
int added__tracepoint(void *ctx) { return on_add(); }

static __always_inline int on_dirty(void) { return COUNT(dirtied, 1); }
SEC("?raw_tp/writeback_dirty_folio")
int dirtied__folio(void *ctx) { return on_dirty(); }
SEC("?raw_tp/writeback_dirty_page")
int dirtied__page(void *ctx) { return on_dirty(); }

SEC("?raw_tp/block_dirty_buffer")
int buffers(void *ctx) { return COUNT(buffers_dirtied, 1); }
