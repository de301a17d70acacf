/* Mistakes with objects of each CPU, with saved interrupts and with what may sleep: each program is refused. The
 * message that we give is the program's name, up to "__" (user_takes: our engine takes it, Linux does not). Linux 6.18
 * takes two of them: it forgets that bpf_per_cpu_ptr() may give null, and lets a single object into the place of one of
 * each CPU. */
#include "objects.h"

struct pair {
  __u64 first, second;
};
typedef struct pair pair_t; /* clang 14 loses a tag before a structure's own name */
struct linked {
  pair_t* other;
};
struct large {
  __u64 words[65];
};
struct several {
  struct pair pairs[3];
};
struct open_ended {
  __u64 count, rest[0];
};
struct deep {
  struct {
    struct {
      struct {
        struct {
          __u64 number;
        } fourth;
      } third;
    } second;
  } first;
};
struct spread {
  pair_t __percpu_kptr_field* pairs;
};
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct spread);
} spread SEC(".maps");
struct holder {
  pair_t __kptr_field* one;
};
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct holder);
} holder SEC(".maps");

extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern void bpf_local_irq_save(unsigned long* flags) __ksym;
extern void bpf_local_irq_restore(unsigned long* flags) __ksym;

SEC("tc") int reference_leak__new(struct __sk_buff* ctx) {
  return bpf_percpu_obj_new(struct pair) != 0;
}
SEC("tc") int object_elsewhere__new(struct __sk_buff* ctx) {
  pair_t* made = bpf_percpu_obj_new(struct pair);
  if (!made) return 0;
  made->first = 1;
  bpf_percpu_obj_drop(made);
  return 0;
}
SEC("tc") int object_elsewhere__in_map(struct __sk_buff* ctx) {
  __u32 key = 0;
  struct spread* place = bpf_map_lookup_elem(&spread, &key);
  pair_t* pairs = place ? place->pairs : 0;
  return pairs ? (int)pairs->first : 0;
}
SEC("tc") int wrong_argument__drop_of_one(struct __sk_buff* ctx) {
  pair_t* made = bpf_obj_new(struct pair);
  if (!made) return 0;
  bpf_percpu_obj_drop(made);
  return 0;
}
SEC("tc") int wrong_argument__drop_of_all(struct __sk_buff* ctx) {
  pair_t* made = bpf_percpu_obj_new(struct pair);
  if (!made) return 0;
  bpf_obj_drop(made);
  return 0;
}
SEC("tc") int wrong_argument__not_in_map(struct __sk_buff* ctx) {
  pair_t* made = bpf_percpu_obj_new(struct pair);
  if (!made) return 0;
  pair_t* own = bpf_this_cpu_ptr(made);
  own->first = 1;
  bpf_percpu_obj_drop(made);
  return 0;
}
SEC("tc") int wrong_argument__has_pointers(struct __sk_buff* ctx) {
  struct linked* made = bpf_percpu_obj_new(struct linked);
  if (made) bpf_percpu_obj_drop(made);
  return 0;
}
SEC("tc") int wrong_argument__too_large(struct __sk_buff* ctx) {
  struct large* made = bpf_percpu_obj_new(struct large);
  if (made) bpf_percpu_obj_drop(made);
  return 0;
}
SEC("tc") int wrong_argument__array_of_structures(struct __sk_buff* ctx) {
  struct several* made = bpf_percpu_obj_new(struct several);
  if (made) bpf_percpu_obj_drop(made);
  return 0;
}
SEC("tc") int wrong_argument__array_without_elements(struct __sk_buff* ctx) {
  struct open_ended* made = bpf_percpu_obj_new(struct open_ended);
  if (made) bpf_percpu_obj_drop(made);
  return 0;
}
SEC("tc") int wrong_argument__too_deep(struct __sk_buff* ctx) {
  struct deep* made = bpf_percpu_obj_new(struct deep);
  if (made) bpf_percpu_obj_drop(made);
  return 0;
}
SEC("tc") int wrong_argument__one_into_all(struct __sk_buff* ctx) {
  __u32 key = 0;
  struct spread* place = bpf_map_lookup_elem(&spread, &key);
  if (!place) return 0;
  pair_t* made = bpf_obj_new(struct pair);
  if (!made) return 0;
  pair_t* before = bpf_kptr_xchg(&place->pairs, made);
  if (before) bpf_percpu_obj_drop(before);
  return 0;
}
SEC("tc") int maybe_null__in_map(struct __sk_buff* ctx) {
  __u32 key = 0;
  struct spread* place = bpf_map_lookup_elem(&spread, &key);
  if (!place) return 0;
  pair_t* own = bpf_this_cpu_ptr(place->pairs);
  return (int)own->first;
}
SEC("tc") int maybe_null__part(struct __sk_buff* ctx) {
  __u32 key = 0;
  struct spread* place = bpf_map_lookup_elem(&spread, &key);
  pair_t* pairs = place ? place->pairs : 0;
  if (!pairs) return 0;
  pair_t* part = bpf_per_cpu_ptr(pairs, 1);
  return (int)part->first;
}
SEC("tc") int outside_region__part(struct __sk_buff* ctx) {
  __u32 key = 0;
  struct spread* place = bpf_map_lookup_elem(&spread, &key);
  pair_t* pairs = place ? place->pairs : 0;
  if (!pairs) return 0;
  pair_t* own = bpf_this_cpu_ptr(pairs);
  return (int)((volatile __u64*)own)[2];
}
SEC("tc") int section_over__each_cpu(struct __sk_buff* ctx) {
  __u32 key = 0;
  struct spread* place = bpf_map_lookup_elem(&spread, &key);
  if (!place) return 0;
  bpf_rcu_read_lock();
  pair_t* pairs = place->pairs;
  bpf_rcu_read_unlock();
  return pairs ? (int)pairs->first : 0;
}
SEC("tc") int section_over__part(struct __sk_buff* ctx) {
  __u32 key = 0;
  struct spread* place = bpf_map_lookup_elem(&spread, &key);
  if (!place) return 0;
  bpf_rcu_read_lock();
  pair_t* pairs = place->pairs;
  pair_t* own = pairs ? bpf_this_cpu_ptr(pairs) : 0;
  bpf_rcu_read_unlock();
  return own ? (int)own->first : 0;
}
SEC("tc") int section_over__one(struct __sk_buff* ctx) {
  __u32 key = 0;
  struct holder* place = bpf_map_lookup_elem(&holder, &key);
  if (!place) return 0;
  bpf_rcu_read_lock();
  pair_t* one = place->one;
  bpf_rcu_read_unlock();
  return one ? (int)one->first : 0;
}
SEC("tc") int section_open__interrupts(struct __sk_buff* ctx) {
  unsigned long flags;
  bpf_local_irq_save(&flags);
  return 0;
}
SEC("tc") int irq_order__interrupts(struct __sk_buff* ctx) {
  unsigned long outer, inner;
  bpf_local_irq_save(&outer);
  bpf_local_irq_save(&inner);
  bpf_local_irq_restore(&outer);
  bpf_local_irq_restore(&inner);
  return 0;
}

/* One instruction for both, as compilers make it where branches meet. Our engine takes it: both are plain memory. */
SEC("tc") int user_takes__object_or_stack(struct __sk_buff* ctx) {
  __u64 own = 3;
  struct pair* made = bpf_obj_new(struct pair);
  if (!made) return 0;
  void* either = made;
  asm volatile("if %[which] == 0 goto +1\n%[either] = %[own]\n"
               : [either] "+r"(either)
               : [own] "r"(&own), [which] "r"((__u64)ctx->len));
  int value = *(volatile __u64*)either;
  bpf_obj_drop(made);
  return value;
}

/* A global function is proved on its own: what it does matters where it is called. */
__attribute__((noinline)) int sleeper(int from) {
  char bytes[8];
  return bpf_copy_from_user(bytes, sizeof(bytes), (void*)(long)from);
}
__attribute__((noinline)) int caller_of_sleeper(int from) { return sleeper(from) + 1; }
SEC("syscall") int sleeps_in_section__global(void* ctx) {
  unsigned long flags;
  bpf_local_irq_save(&flags);
  sleeper(1);
  bpf_local_irq_restore(&flags);
  return 0;
}
SEC("syscall") int sleeps_in_section__through_another(void* ctx) {
  bpf_rcu_read_lock();
  caller_of_sleeper(1);
  bpf_rcu_read_unlock();
  return 0;
}

/* A timer's callback may not sleep, whatever its program may; a work queue's may, so it is in no RCU section. */
struct bpf_wq {
  __u64 opaque[2];
} __attribute__((aligned(8)));
extern int bpf_wq_init(struct bpf_wq* work, void* map, unsigned int flags) __ksym;
extern int bpf_wq_set_callback_impl(struct bpf_wq* work, int (*callback)(void*, int*, void*), unsigned int flags,
                                    void* hidden) __ksym;
struct later {
  struct bpf_timer timer;
  struct bpf_wq work;
  pair_t __percpu_kptr_field* pairs;
};
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct later);
} later SEC(".maps");
struct worked {
  struct bpf_wq work;
};
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct worked);
} worked SEC(".maps");
static int copies(void* map, int* key, void* value) {
  char bytes[8];
  bpf_copy_from_user(bytes, sizeof(bytes), (void*)1);
  return 0;
}
static int calls_sleeper(void* map, int* key, void* value) {
  sleeper(1);
  return 0;
}
static int writes_part(void* map, int* key, void* value) {
  pair_t* pairs = ((struct later*)value)->pairs;
  if (!pairs) return 0;
  pair_t* own = bpf_this_cpu_ptr(pairs);
  own->first = 1;
  return 0;
}
SEC("syscall") int helper_sleeps__timer(void* ctx) {
  __u32 key = 0;
  struct later* place = bpf_map_lookup_elem(&later, &key);
  return place ? bpf_timer_set_callback(&place->timer, copies) : 0;
}
SEC("syscall") int helper_sleeps__timer_global(void* ctx) {
  __u32 key = 0;
  struct later* place = bpf_map_lookup_elem(&later, &key);
  return place ? bpf_timer_set_callback(&place->timer, calls_sleeper) : 0;
}
SEC("tracepoint/syscalls/sys_enter_getpid") int timer_not_for_type__work(void* ctx) {
  __u32 key = 0;
  struct worked* place = bpf_map_lookup_elem(&worked, &key);
  return place ? bpf_wq_init(&place->work, &worked, 0) : 0;
}
SEC("tc") int wrong_argument__work(struct __sk_buff* ctx) {
  __u32 key = 0;
  struct later* place = bpf_map_lookup_elem(&later, &key);
  return place ? bpf_wq_set_callback_impl(&place->work, writes_part, 0, 0) : 0;
}

char LICENSE[] SEC("license") = "GPL";
