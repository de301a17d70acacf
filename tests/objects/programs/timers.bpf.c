/* bpf_timer: what the helpers answer, and what runs later. */
#include "objects.h"

struct timed {
  struct bpf_timer timer;
  __u64 fired, key, limit;
};
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 3);
  __type(key, __u32);
  __type(value, struct timed);
} timers SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 8);
  __type(key, __u64);
  __type(value, struct timed);
} by_key SEC(".maps");

#define MONOTONIC 1

static int count(void* map, __u32* key, struct timed* value) {
  value->fired++;
  value->key = *key;
  if (value->fired < value->limit) bpf_timer_start(&value->timer, 1000000, 0);
  return 0;
}

static int note_key(void* map, __u64* key, struct timed* value) {
  value->fired++;
  value->key = *key;
  return 0;
}

/* Asks to cancel itself, deletes its own element. */
static int from_inside(void* map, __u64* key, struct timed* value) {
  value->key = bpf_timer_cancel(&value->timer);
  value->fired++;
  return 0;
}
static int delete_self(void* map, __u64* key, struct timed* value) {
  __u64 own = *key;
  value->fired++;
  bpf_map_delete_elem(map, &own);
  return 0;
}

/* 0, or the number of the answer that is not the kernel's. */
SEC("tc") int answers(struct __sk_buff* ctx) {
  __u32 key = 0;
  struct timed* value = bpf_map_lookup_elem(&timers, &key);
  if (!value) return 1;
  if (bpf_timer_start(&value->timer, 1, 0) != -22) return 2;
  if (bpf_timer_cancel(&value->timer) != -22) return 3;
  if (bpf_timer_set_callback(&value->timer, count) != -22) return 4;
  if (bpf_timer_init(&value->timer, &timers, 16) != -22) return 5;
  if (bpf_timer_init(&value->timer, &timers, 2) != -22) return 6; /* CLOCK_PROCESS_CPUTIME_ID */
  if (bpf_timer_init(&value->timer, &timers, MONOTONIC) != 0) return 7;
  if (bpf_timer_init(&value->timer, &timers, MONOTONIC) != -16) return 8;
  if (bpf_timer_start(&value->timer, 1, 0) != -22) return 9; /* no callback */
  if (bpf_timer_set_callback(&value->timer, count) != 0) return 10;
  if (bpf_timer_start(&value->timer, 1, 4) != -22) return 11;
  if (bpf_timer_cancel(&value->timer) != 0) return 12;
  if (bpf_timer_start(&value->timer, 1, 0) != -22) return 13; /* cancelling forgets the callback */
  if (bpf_timer_set_callback(&value->timer, count) != 0) return 14;
  if (bpf_timer_start(&value->timer, 3600000000000ull, 0) != 0) return 15;
  if (bpf_timer_start(&value->timer, 7200000000000ull, 0) != 0) return 16;
  if (bpf_timer_cancel(&value->timer) != 1) return 17;
  /* An update of the value lets the timer go. */
  struct timed fresh = {.limit = 5};
  if (bpf_map_update_elem(&timers, &key, &fresh, BPF_ANY)) return 18;
  if (bpf_timer_cancel(&value->timer) != -22) return 19;
  return value->limit == 5 ? 0 : 20;
}

SEC("tc") int start(struct __sk_buff* ctx) {
  __u32 key = 1;
  struct timed* value = bpf_map_lookup_elem(&timers, &key);
  if (!value) return 1;
  value->limit = 5;
  if (bpf_timer_init(&value->timer, &timers, MONOTONIC)) return 2;
  if (bpf_timer_set_callback(&value->timer, count)) return 3;
  return bpf_timer_start(&value->timer, 1000000, 0);
}

#define START(name, key_, callback, wait, flags)                       \
  SEC("tc") int name(struct __sk_buff* ctx) {                          \
    __u64 key = key_;                                                  \
    struct timed fresh = {};                                           \
    if (bpf_map_update_elem(&by_key, &key, &fresh, BPF_ANY)) return 1; \
    struct timed* value = bpf_map_lookup_elem(&by_key, &key);          \
    if (!value) return 2;                                              \
    if (bpf_timer_init(&value->timer, &by_key, MONOTONIC)) return 3;   \
    if (bpf_timer_set_callback(&value->timer, callback)) return 4;     \
    return bpf_timer_start(&value->timer, wait, flags);                \
  }
START(with_key, 0x1122334455667788ull, note_key, 1000000, 0)
START(absolute, 2, note_key, bpf_ktime_get_ns() + 1000000, 1)
START(pinned, 3, note_key, 1000000, 2)
START(own_cancel, 4, from_inside, 1000000, 0)
START(own_deletion, 5, delete_self, 1000000, 0)
START(far_away, 6, note_key, 3600000000000ull, 0)

struct bpf_wq {
  __u64 opaque[2];
} __attribute__((aligned(8)));
extern int bpf_wq_init(struct bpf_wq* work, void* map, unsigned int flags) __ksym;
extern int bpf_wq_start(struct bpf_wq* work, unsigned int flags) __ksym;
extern int bpf_wq_set_callback_impl(struct bpf_wq* work, int (*callback)(void*, int*, void*), unsigned int flags,
                                    void* aux) __ksym;

struct working {
  struct bpf_wq work;
  __u64 done, key;
};
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 3);
  __type(key, __u32);
  __type(value, struct working);
} works SEC(".maps");

static int work_on(void* map, int* key, void* value) {
  struct working* own = value;
  own->key = *key;
  own->done++;
  return 0;
}

SEC("tc") int work(struct __sk_buff* ctx) {
  __u32 key = 2;
  struct working* value = bpf_map_lookup_elem(&works, &key);
  if (!value) return 1;
  if (bpf_wq_start(&value->work, 0) != -22) return 2;
  if (bpf_wq_init(&value->work, &works, 1) != -22) return 3;
  if (bpf_wq_init(&value->work, &works, 0) != 0) return 4;
  if (bpf_wq_init(&value->work, &works, 0) != -16) return 5;
  if (bpf_wq_start(&value->work, 0) != -22) return 6;
  if (bpf_wq_set_callback_impl(&value->work, work_on, 0, 0) != 0) return 7;
  if (bpf_wq_start(&value->work, 1) != -22) return 8;
  return bpf_wq_start(&value->work, 0);
}

SEC("tc") int forget(struct __sk_buff* ctx) {
  __u64 key = 6;
  return bpf_map_delete_elem(&by_key, &key);
}

char LICENSE[] SEC("license") = "GPL";
