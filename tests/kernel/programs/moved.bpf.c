// Programs written for other releases: arguments that a tracepoint had, functions whose work another one does now.
#include <linux/types.h>

enum { BPF_MAP_TYPE_ARRAY = 2 };
#include <bpf/bpf_helpers.h>

const volatile unsigned int wanted_pid = 0;

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 15);
  __type(key, __u32);
  __type(value, __u64);
} hits SEC(".maps");

static __always_inline void add(__u32 slot, __u64 value) {
  __u64 *hit = bpf_map_lookup_elem(&hits, &slot);
  if (hit) __sync_fetch_and_add(hit, value);
}
static __always_inline int is_wanted(void) { return bpf_get_current_pid_tgid() >> 32 == wanted_pid; }

// zone_start, migrate_pfn, free_pfn, zone_end, sync
SEC("raw_tracepoint/mm_compaction_begin")
int begin_as_it_was(const __u64 *ctx) {
  add(0, ctx[0]);
  add(1, ctx[3]);
  add(2, ctx[4]);
  return 0;
}

// What today's tracepoint has, too: the program is left alone.
SEC("raw_tracepoint/mm_compaction_begin")
int begin_as_it_is(const __u64 *ctx) {
  add(3, ctx[3]);
  return 0;
}

SEC("raw_tracepoint/mm_compaction_begin")
int begin_that_asks_for_what_is_gone(const __u64 *ctx) {
  add(4, ctx[2] + ctx[4]);
  return 0;
}

// Parameter gfp, then the page.
SEC("fexit/__page_cache_alloc")
int page_is_made(const __u64 *ctx) {
  if (is_wanted()) add(5, ctx[1] != 0);
  return 0;
}

SEC("fentry/mark_page_accessed")
int page_is_used(const __u64 *ctx) {
  if (is_wanted()) add(6, ctx[0] != 0);
  return 0;
}

// Where the program is, by the registers that it gets, and the page: the words ip and di of struct pt_regs.
SEC("kprobe/mark_page_accessed")
int page_is_used_by_probe(const __u64 *registers) {
  if (!is_wanted()) return 0;
  __u32 slot = 8;
  const __u64 address = registers[16];
  bpf_map_update_elem(&hits, &slot, &address, 0);
  add(7, registers[14] != 0);
  return 0;
}

// The page is the second parameter of what does the work today.
SEC("kprobe/add_to_page_cache_lru")
int page_is_added_by_probe(const __u64 *registers) {
  if (is_wanted()) add(9, registers[14] > 1ull << 63);
  return 0;
}

// Compilers put it into some of its callers.
SEC("fentry/vfs_fsync_range")
int file_is_synced(const __u64 *ctx) {
  if (is_wanted()) add(10, 1);
  return 0;
}

SEC("fexit/vfs_fsync_range")
int file_was_synced(const __u64 *ctx) {
  if (is_wanted()) add(11, ctx[4] == 0);
  return 0;
}

SEC("kprobe/vfs_fsync_range")
int file_is_synced_by_probe(const __u64 *registers) {
  if (is_wanted()) add(12, registers[16] != 0);
  return 0;
}

SEC("kretprobe/vfs_fsync_range")
int file_was_synced_by_probe(const __u64 *registers) {
  if (is_wanted()) add(13, registers[10] == 0);
  return 0;
}

// The file, which not every caller has.
SEC("fentry/vfs_fsync_range")
int synced_file(const __u64 *ctx) {
  if (is_wanted()) add(14, ctx[0] != 0);
  return 0;
}
