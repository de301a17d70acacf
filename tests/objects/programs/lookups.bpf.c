/* Maps whose values have fields that only helpers touch, and per-CPU maps under a timer: look-ups, updates and removals
 * of many keys. Every program returns 0, or the number of the step that went wrong. */
#include "objects.h"

#define MONOTONIC 1
#define KEYS 40

struct plain {
  __u64 a, b;
};
typedef struct plain plain_t; /* clang 14 loses a tag before a structure's own name */

struct guarded {
  struct bpf_spin_lock lock;
  __u32 small;
  __u64 sum, more;
};
struct timed {
  __u64 before;
  struct bpf_timer timer;
  __u64 sum;
};
struct owning {
  plain_t __kptr_field* plain;
  __u64 sum;
};
struct pair {
  __u64 first, second;
};
typedef struct pair pair_t; /* as plain_t above */

#define MAP(name, type_, entries, key_type, value_type) \
  struct {                                              \
    __uint(type, BPF_MAP_TYPE_##type_);                 \
    __uint(max_entries, entries);                       \
    __type(key, key_type);                              \
    __type(value, value_type);                          \
  } name SEC(".maps")
MAP(guarded_hash, HASH, KEYS, __u64, struct guarded);
MAP(guarded_pairs, HASH, KEYS, struct pair, struct guarded);
MAP(guarded_array, ARRAY, KEYS, __u32, struct guarded);
MAP(timed_hash, HASH, KEYS, __u32, struct timed);
MAP(timed_lru, LRU_HASH, 4 * KEYS, __u64, struct timed);
MAP(owning_hash, HASH, KEYS, __u64, struct owning);
MAP(owning_lru, LRU_HASH, 4 * KEYS, struct pair, struct owning);
MAP(owning_percpu, PERCPU_HASH, KEYS, __u32, struct owning);
MAP(starter, ARRAY, 1, __u32, struct timed);
MAP(percpu_values, PERCPU_ARRAY, 2, __u32, __u64);
MAP(percpu_table, PERCPU_HASH, 4, __u64, struct pair);
MAP(percpu_recent, LRU_PERCPU_HASH, 64, __u32, __u64);

#define KEY(i) ((i) * 0x9e3779b97f4a7c15ull)

/* A new value, one that replaces it and keeps the lock, the end of it. */
#define GUARDED(name, map, key_type, key_of)                                \
  static int name##_one(__u64 i) {                                          \
    key_type key = key_of;                                                  \
    struct guarded value = {.small = i, .sum = i + 1, .more = i + 2};       \
    if (bpf_map_lookup_elem(&map, &key)) return 1;                          \
    if (bpf_map_update_elem(&map, &key, &value, BPF_EXIST) != -2) return 2; \
    if (bpf_map_update_elem(&map, &key, &value, BPF_NOEXIST)) return 3;     \
    struct guarded* found = bpf_map_lookup_elem(&map, &key);                \
    if (!found) return 4;                                                   \
    bpf_spin_lock(&found->lock);                                            \
    found->sum += 10;                                                       \
    __u64 sum = found->sum + found->small + found->more;                    \
    bpf_spin_unlock(&found->lock);                                          \
    if (sum != 3 * i + 13) return 5;                                        \
    value.sum = 7;                                                          \
    value.more = i;                                                         \
    if (bpf_map_update_elem(&map, &key, &value, BPF_ANY)) return 6;         \
    found = bpf_map_lookup_elem(&map, &key);                                \
    if (!found) return 7;                                                   \
    bpf_spin_lock(&found->lock);                                            \
    sum = found->sum * 1000 + found->more;                                  \
    bpf_spin_unlock(&found->lock);                                          \
    return sum == 7000 + i ? 0 : 8;                                         \
  }                                                                         \
  SEC("tc") int name(struct __sk_buff* ctx) {                               \
    for (__u64 i = 0; i < KEYS; i++) {                                      \
      int wrong = name##_one(i);                                            \
      if (wrong) return wrong;                                              \
    }                                                                       \
    for (__u64 i = 0; i < KEYS; i++) {                                      \
      key_type key = key_of;                                                \
      struct guarded* found = bpf_map_lookup_elem(&map, &key);              \
      if (!found || found->small != (__u32)i) return 9;                     \
      if (bpf_map_delete_elem(&map, &key)) return 10;                       \
      if (bpf_map_lookup_elem(&map, &key)) return 11;                       \
      if (bpf_map_delete_elem(&map, &key) != -2) return 12;                 \
    }                                                                       \
    return 0;                                                               \
  }
GUARDED(guarded, guarded_hash, __u64, KEY(i))
GUARDED(guarded_by_two, guarded_pairs, struct pair, ((struct pair){KEY(i), i}))

SEC("tc") int guarded_indexed(struct __sk_buff* ctx) {
  for (__u32 i = 0; i <= KEYS; i++) {
    __u32 key = i;
    struct guarded value = {.small = i, .sum = i};
    long done = bpf_map_update_elem(&guarded_array, &key, &value, BPF_ANY);
    if (done != (i < KEYS ? 0 : -7)) return 1;
    struct guarded* found = bpf_map_lookup_elem(&guarded_array, &key);
    if (!found != (i == KEYS)) return 2;
    if (!found) continue;
    bpf_spin_lock(&found->lock);
    found->more = found->sum + found->small;
    bpf_spin_unlock(&found->lock);
    if (found->more != 2 * i) return 3;
  }
  return 0;
}

static int nothing(void* map, void* key, void* value) { return 0; }

/* A replaced value has no timer any more; one that stays keeps it. */
#define TIMED(name, map, key_type, key_of)                              \
  static int name##_one(__u64 i) {                                      \
    key_type key = key_of;                                              \
    struct timed value = {.before = i, .sum = i + 1};                   \
    if (bpf_map_update_elem(&map, &key, &value, BPF_NOEXIST)) return 1; \
    struct timed* found = bpf_map_lookup_elem(&map, &key);              \
    if (!found) return 2;                                               \
    if (bpf_timer_init(&found->timer, &map, MONOTONIC)) return 3;       \
    if (bpf_timer_set_callback(&found->timer, nothing)) return 4;       \
    if (bpf_timer_start(&found->timer, 3600000000000ull, 0)) return 5;  \
    found = bpf_map_lookup_elem(&map, &key);                            \
    if (!found || found->before != i || found->sum != i + 1) return 6;  \
    if (bpf_timer_cancel(&found->timer) != 1) return 7;                 \
    value.sum = 5;                                                      \
    if (bpf_map_update_elem(&map, &key, &value, BPF_EXIST)) return 8;   \
    found = bpf_map_lookup_elem(&map, &key);                            \
    if (!found || found->sum != 5) return 9;                            \
    return bpf_timer_cancel(&found->timer) == -22 ? 0 : 10;             \
  }                                                                     \
  SEC("tc") int name(struct __sk_buff* ctx) {                           \
    for (__u64 i = 0; i < KEYS; i++) {                                  \
      int wrong = name##_one(i);                                        \
      if (wrong) return wrong;                                          \
    }                                                                   \
    for (__u64 i = 0; i < KEYS; i++) {                                  \
      key_type key = key_of;                                            \
      if (bpf_map_delete_elem(&map, &key)) return 11;                   \
      if (bpf_map_lookup_elem(&map, &key)) return 12;                   \
    }                                                                   \
    return 0;                                                           \
  }
TIMED(timed, timed_hash, __u32, KEY(i))
TIMED(timed_recent, timed_lru, __u64, KEY(i))

/* What a value owns stays with it over look-ups and goes with a replacement or a removal. */
#define OWNING(name, map, key_type, key_of, replaces)                   \
  static int name##_one(__u64 i) {                                      \
    key_type key = key_of;                                              \
    struct owning value = {.sum = i + 1};                               \
    if (bpf_map_update_elem(&map, &key, &value, BPF_NOEXIST)) return 1; \
    struct owning* found = bpf_map_lookup_elem(&map, &key);             \
    if (!found) return 2;                                               \
    struct plain* made = bpf_obj_new(struct plain);                     \
    if (!made) return 13;                                               \
    made->a = i;                                                        \
    made = bpf_kptr_xchg(&found->plain, made);                          \
    if (made) {                                                         \
      bpf_obj_drop(made);                                               \
      return 3;                                                         \
    }                                                                   \
    found = bpf_map_lookup_elem(&map, &key);                            \
    if (!found || found->sum != i + 1) return 4;                        \
    made = bpf_kptr_xchg(&found->plain, 0);                             \
    if (!made) return 5;                                                \
    __u64 a = made->a;                                                  \
    made = bpf_kptr_xchg(&found->plain, made);                          \
    if (made) {                                                         \
      bpf_obj_drop(made);                                               \
      return 6;                                                         \
    }                                                                   \
    if (a != i) return 7;                                               \
    if (!replaces) return 0;                                            \
    value.sum = 5;                                                      \
    if (bpf_map_update_elem(&map, &key, &value, BPF_EXIST)) return 8;   \
    found = bpf_map_lookup_elem(&map, &key);                            \
    if (!found || found->sum != 5) return 9;                            \
    made = bpf_kptr_xchg(&found->plain, 0);                             \
    if (!made) return 0;                                                \
    bpf_obj_drop(made);                                                 \
    return 10;                                                          \
  }                                                                     \
  SEC("tc") int name(struct __sk_buff* ctx) {                           \
    for (__u64 i = 0; i < KEYS; i++) {                                  \
      int wrong = name##_one(i);                                        \
      if (wrong) return wrong;                                          \
    }                                                                   \
    for (__u64 i = 0; i < KEYS; i++) {                                  \
      key_type key = key_of;                                            \
      if (bpf_map_delete_elem(&map, &key)) return 11;                   \
      if (bpf_map_lookup_elem(&map, &key)) return 12;                   \
    }                                                                   \
    return 0;                                                           \
  }
OWNING(owning, owning_hash, __u64, KEY(i), i % 2)
OWNING(owning_recent, owning_lru, struct pair, ((struct pair){i, KEY(i)}), i % 2)
OWNING(owning_by_cpu, owning_percpu, __u32, KEY(i), 0)

/* Writes into the slots of the CPU it runs on, and says which that is. */
static int count(void* map, __u32* key, struct timed* value) {
  __u32 index = 1, number = 77;
  __u64 name = 0x1122334455667788ull, one = 1;
  __u64* in_array = bpf_map_lookup_elem(&percpu_values, &index);
  struct pair* in_table = bpf_map_lookup_elem(&percpu_table, &name);
  if (!in_array || !in_table) return 0;
  (*in_array)++;
  in_table->second++;
  __u64* recent = bpf_map_lookup_elem(&percpu_recent, &number);
  if (recent)
    (*recent)++;
  else
    bpf_map_update_elem(&percpu_recent, &number, &one, BPF_ANY);
  value->sum++;
  value->before = bpf_get_smp_processor_id();
  if (value->sum < 3) bpf_timer_start(&value->timer, 100000, 0);
  return 0;
}

SEC("tc") int count_later(struct __sk_buff* ctx) {
  __u32 key = 0;
  __u64 name = 0x1122334455667788ull;
  struct pair none = {};
  struct timed* value = bpf_map_lookup_elem(&starter, &key);
  if (!value) return 1;
  if (bpf_map_update_elem(&percpu_table, &name, &none, BPF_ANY)) return 2;
  if (bpf_timer_init(&value->timer, &starter, MONOTONIC)) return 3;
  if (bpf_timer_set_callback(&value->timer, count)) return 4;
  return bpf_timer_start(&value->timer, 100000, 0) ? 5 : 0;
}

extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern void bpf_preempt_disable(void) __ksym;
extern void bpf_preempt_enable(void) __ksym;
extern void bpf_local_irq_save(unsigned long* flags) __ksym;
extern void bpf_local_irq_restore(unsigned long* flags) __ksym;

/* Sections inside of sections, each around a look-up; what stood on the stack before is there after them. */
SEC("tc") int in_sections(struct __sk_buff* ctx) {
  unsigned long outer, inner;
  __u32 key = 1;
  volatile __u64 kept[4] = {1, 2, 3, 4};
  bpf_rcu_read_lock();
  bpf_preempt_disable();
  bpf_local_irq_save(&outer);
  __u64* first = bpf_map_lookup_elem(&percpu_values, &key);
  if (first) *first = 5;
  bpf_local_irq_save(&inner);
  __u64* second = bpf_map_lookup_elem(&percpu_values, &key);
  __u64 sum = first && second ? *first + *second : 0;
  bpf_local_irq_restore(&inner);
  bpf_local_irq_restore(&outer);
  bpf_preempt_enable();
  bpf_rcu_read_unlock();
  if (sum != 10) return 1;
  return kept[0] + kept[1] + kept[2] + kept[3] == 10 ? 0 : 2;
}

struct spread {
  pair_t __percpu_kptr_field* pairs;
};
MAP(spread, ARRAY, 1, __u32, struct spread);
MAP(spread_hash, HASH, 2, __u32, struct spread);

/* An object of each CPU: made, put into a map and found there, each CPU's part apart, taken out, dropped. */
SEC("tc") int of_each_cpu(struct __sk_buff* ctx) {
  __u32 key = 0;
  struct spread* place = bpf_map_lookup_elem(&spread, &key);
  if (!place) return 1;
  pair_t* made = bpf_percpu_obj_new(struct pair);
  if (!made) return 2;
  pair_t* before = bpf_kptr_xchg(&place->pairs, made);
  if (before) {
    bpf_percpu_obj_drop(before);
    return 3;
  }
  pair_t* pairs = place->pairs;
  if (!pairs) return 4;
  pair_t* own = bpf_this_cpu_ptr(pairs);
  if (own->first != 0 || own->second != 0) return 5; /* new ones are zero */
  own->first = 3;
  own->second = 4;
  __u64 sum = 0;
  __u32 cpus = 0;
  for (__u32 cpu = 0; cpu < 64; cpu++) {
    pair_t* part = bpf_per_cpu_ptr(pairs, cpu);
    if (!part) break;
    cpus++;
    sum += part->first;
  }
  if (cpus == 0 || sum != 3) return 6;
  pair_t* mine = bpf_per_cpu_ptr(pairs, bpf_get_smp_processor_id());
  if (!mine || mine->second != 4) return 7;
  if (bpf_per_cpu_ptr(pairs, 0xffffffff)) return 8;
  pair_t* out = bpf_kptr_xchg(&place->pairs, 0);
  if (!out) return 9;
  bpf_percpu_obj_drop(out);
  return place->pairs ? 10 : 0;
}

union word {
  __u64 whole;
  __u32 halves[2];
};
struct words {
  union word first;
  struct {
    struct {
      struct {
        __u64 number;
      } third;
    } second;
  } deep;
  enum { none, some } kind;
};

/* Numbers may lie in unions and in structures. */
SEC("tc") int of_each_nested(struct __sk_buff* ctx) {
  struct words* made = bpf_percpu_obj_new(struct words);
  if (!made) return 1;
  bpf_percpu_obj_drop(made);
  return 0;
}

/* What a map value owns goes with it. */
SEC("tc") int of_each_left(struct __sk_buff* ctx) {
  __u32 key = 1;
  struct spread none = {};
  if (bpf_map_update_elem(&spread_hash, &key, &none, BPF_ANY)) return 1;
  struct spread* place = bpf_map_lookup_elem(&spread_hash, &key);
  if (!place) return 2;
  pair_t* made = bpf_percpu_obj_new(struct pair);
  if (!made) return 3;
  pair_t* before = bpf_kptr_xchg(&place->pairs, made);
  if (before) bpf_percpu_obj_drop(before);
  pair_t* own = bpf_this_cpu_ptr(made); /* still alive: in the map, and this is an RCU section */
  own->first++;
  return bpf_map_delete_elem(&spread_hash, &key) ? 4 : 0;
}

char LICENSE[] SEC("license") = "GPL";
