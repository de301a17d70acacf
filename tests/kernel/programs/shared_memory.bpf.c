// What a host shares with programs: a user ring buffer that it writes, an array and an arena that it maps.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef BPF_F_MMAPABLE
#define BPF_F_MMAPABLE (1U << 10)
#endif
#define MAP_TYPE_USER_RINGBUF 31 /* newer than the headers of Debian 12 */
#define MAP_TYPE_ARENA 33

char LICENSE[] SEC("license") = "GPL";

struct {
  __uint(type, MAP_TYPE_USER_RINGBUF);
  __uint(max_entries, 4096);
} orders SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1000);
  __type(key, __u32);
  __type(value, __u32);
} shared SEC(".maps");
struct {
  __uint(type, MAP_TYPE_ARENA);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 16);
} pages SEC(".maps");

__u64 sum, where;

/* addr_space_cast(pointer, 0, 1): clang knows it from 19 on. */
#define TO_PROGRAM(pointer)                                                                     \
  ({                                                                                            \
    typeof(pointer) to = pointer;                                                               \
    asm volatile(                                                                               \
        ".byte 0xbf; .irp k,0,1,2,3,4,5,6,7,8,9; .ifc %0, r\\k; .byte 0x\\k\\k; .endif; .endr;" \
        ".short 1; .long 1"                                                                     \
        : "+r"(to));                                                                            \
    to;                                                                                         \
  })

static long (*const drain_ring)(void *map, void *callback, void *ctx, __u64 flags) = (void *)209;
static long (*const read_dynptr)(void *dst, __u32 len, void *src, __u32 offset, __u64 flags) = (void *)201;
extern void *bpf_arena_alloc_pages___first(void *map, void *address, __u32 count, int node, __u64 flags) __ksym;

static long take(void *record, void *ctx) {
  __u64 number = 0;
  read_dynptr(&number, sizeof number, record, 0, 0);
  sum += number;
  return 0;
}
SEC("syscall") int take_orders(void *ctx) { return drain_ring(&orders, take, 0, 0); }

SEC("syscall") int count(void *ctx) {
  __u32 index = 700;
  __u32 *value = bpf_map_lookup_elem(&shared, &index);
  if (value) *value += 1;
  return 0;
}

SEC("syscall") int give_a_page(void *ctx) {
  __u64 *page = bpf_arena_alloc_pages___first(&pages, 0, 1, -1, 0);
  if (!page) return 1;
  where = (__u64)page;
  TO_PROGRAM(page)[3] = 77;
  return 0;
}
