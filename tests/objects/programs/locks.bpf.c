/* Locks that may be refused (bpf_res_spin_lock), in values, globals and objects: each program gives 0. */
#include "objects.h"

struct bpf_res_spin_lock {
  __u32 val;
} __attribute__((aligned(4)));
extern int bpf_res_spin_lock(struct bpf_res_spin_lock* lock) __ksym;
extern void bpf_res_spin_unlock(struct bpf_res_spin_lock* lock) __ksym;
extern int bpf_res_spin_lock_irqsave(struct bpf_res_spin_lock* lock, unsigned long* flags) __ksym;
extern void bpf_res_spin_unlock_irqrestore(struct bpf_res_spin_lock* lock, unsigned long* flags) __ksym;
extern void bpf_local_irq_save(unsigned long* flags) __ksym;
extern void bpf_local_irq_restore(unsigned long* flags) __ksym;

#define WOULD_WAIT_FOR_ITSELF -35

struct guarded {
  struct bpf_res_spin_lock lock;
  __u32 count;
};
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, struct guarded);
} values SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, struct guarded);
} named SEC(".maps");

private(A) struct bpf_res_spin_lock lock_a;
private(B) struct bpf_res_spin_lock lock_b;
private(S) struct bpf_spin_lock plain;

struct item {
  __u32 number;
  struct bpf_list_node node;
};
private(L) struct bpf_res_spin_lock list_lock;
private(L) struct bpf_list_head list __contains(item, node);

struct own {
  struct bpf_refcount uses; /* without it, Linux sees no lock in a type of the program's own */
  struct bpf_res_spin_lock lock;
  __u64 number;
};

static struct guarded* value_of(__u32 key) { return bpf_map_lookup_elem(&values, &key); }

SEC("tc") int once(struct __sk_buff* ctx) {
  struct guarded* value = value_of(0);
  if (!value) return 1;
  int refused = bpf_res_spin_lock(&value->lock);
  if (refused) return refused;
  __u32 before = value->count++;
  __u32 after = value->count;
  bpf_res_spin_unlock(&value->lock);
  return after == before + 1 ? 0 : 2;
}

SEC("tc") int in_a_hash(struct __sk_buff* ctx) {
  __u32 key = 7;
  struct guarded none = {};
  if (bpf_map_update_elem(&named, &key, &none, BPF_ANY)) return 1;
  struct guarded* value = bpf_map_lookup_elem(&named, &key);
  if (!value) return 2;
  if (bpf_res_spin_lock(&value->lock)) return 3;
  __u32 count = ++value->count;
  bpf_res_spin_unlock(&value->lock);
  if (bpf_map_delete_elem(&named, &key)) return 4;
  return count == 1 ? 0 : 5;
}

/* One value, found twice: nobody can tell before it runs that it is the same. */
SEC("tc") int the_same_again(struct __sk_buff* ctx) {
  struct guarded *first = value_of(1), *second = value_of(1);
  if (!first || !second) return 1;
  if (bpf_res_spin_lock(&first->lock)) return 2;
  int refused = bpf_res_spin_lock(&second->lock);
  if (!refused) {
    bpf_res_spin_unlock(&second->lock);
    bpf_res_spin_unlock(&first->lock);
    return 3;
  }
  bpf_res_spin_unlock(&first->lock);
  return refused == WOULD_WAIT_FOR_ITSELF ? 0 : 4;
}

SEC("tc") int in_another(struct __sk_buff* ctx) {
  struct guarded* value = value_of(2);
  if (!value) return 1;
  if (bpf_res_spin_lock(&lock_a)) return 2;
  if (bpf_res_spin_lock(&value->lock)) {
    bpf_res_spin_unlock(&lock_a);
    return 3;
  }
  if (bpf_res_spin_lock(&lock_b) == 0) {
    value->count++;
    bpf_res_spin_unlock(&lock_b);
  }
  bpf_res_spin_unlock(&value->lock);
  bpf_res_spin_unlock(&lock_a);
  return 0;
}

SEC("tc") int with_irqs(struct __sk_buff* ctx) {
  unsigned long outer, own, inner;
  struct guarded* value = value_of(3);
  if (!value) return 1;
  bpf_local_irq_save(&outer);
  if (bpf_res_spin_lock_irqsave(&lock_a, &own)) {
    bpf_local_irq_restore(&outer);
    return 2;
  }
  if (bpf_res_spin_lock_irqsave(&value->lock, &inner)) {
    bpf_res_spin_unlock_irqrestore(&lock_a, &own);
    bpf_local_irq_restore(&outer);
    return 3;
  }
  value->count++;
  bpf_res_spin_unlock_irqrestore(&value->lock, &inner);
  bpf_res_spin_unlock_irqrestore(&lock_a, &own);
  bpf_local_irq_restore(&outer);
  return 0;
}

SEC("tc") int in_a_plain_one(struct __sk_buff* ctx) {
  int result = 0;
  bpf_spin_lock(&plain);
  if (bpf_res_spin_lock(&lock_b))
    result = 1;
  else
    bpf_res_spin_unlock(&lock_b);
  bpf_spin_unlock(&plain);
  return result;
}

static __attribute__((noinline)) int take(struct bpf_res_spin_lock* lock) { return bpf_res_spin_lock(lock); }
static __attribute__((noinline)) void give(struct bpf_res_spin_lock* lock) { bpf_res_spin_unlock(lock); }
SEC("tc") int by_functions(struct __sk_buff* ctx) {
  struct guarded* value = value_of(0);
  if (!value) return 1;
  if (take(&value->lock)) return 2;
  if (take(&lock_a)) {
    give(&value->lock);
    return 3;
  }
  give(&lock_a);
  give(&value->lock);
  return 0;
}

SEC("tc") int of_an_object(struct __sk_buff* ctx) {
  struct own* made = bpf_obj_new(struct own);
  if (!made) return 1;
  int refused = bpf_res_spin_lock(&made->lock);
  if (!refused) {
    made->number = 5;
    bpf_res_spin_unlock(&made->lock);
  }
  __u64 number = made->number;
  bpf_obj_drop(made);
  return refused || number != 5 ? 2 : 0;
}

SEC("tc") int around_a_list(struct __sk_buff* ctx) {
  struct item* made = bpf_obj_new(struct item);
  if (!made) return 1;
  made->number = 9;
  if (bpf_res_spin_lock(&list_lock)) {
    bpf_obj_drop(made);
    return 2;
  }
  bpf_list_push_back(&list, &made->node);
  bpf_res_spin_unlock(&list_lock);
  if (bpf_res_spin_lock(&list_lock)) return 3;
  struct bpf_list_node* node = bpf_list_pop_front(&list);
  bpf_res_spin_unlock(&list_lock);
  if (!node) return 4;
  struct item* taken = container_of(node, struct item, node);
  __u32 number = taken->number;
  bpf_obj_drop(taken);
  return number == 9 ? 0 : 5;
}

/* Two orders at once: 0 for both locks, 1 where the second, 2 where the first was refused. `both` counts the zeros. */
__u64 both;
SEC("tc") int in_order(struct __sk_buff* ctx) {
  if (bpf_res_spin_lock(&lock_a)) return 2;
  if (bpf_res_spin_lock(&lock_b)) {
    bpf_res_spin_unlock(&lock_a);
    return 1;
  }
  both++;
  bpf_res_spin_unlock(&lock_b);
  bpf_res_spin_unlock(&lock_a);
  return 0;
}
SEC("tc") int in_reverse(struct __sk_buff* ctx) {
  if (bpf_res_spin_lock(&lock_b)) return 2;
  if (bpf_res_spin_lock(&lock_a)) {
    bpf_res_spin_unlock(&lock_b);
    return 1;
  }
  both++;
  bpf_res_spin_unlock(&lock_a);
  bpf_res_spin_unlock(&lock_b);
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
