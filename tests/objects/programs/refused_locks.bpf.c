/* Mistakes with locks that may be refused (bpf_res_spin_lock): each program is refused. The message that we give is the
 * program's name, up to "__" (user_takes: our engine takes it, Linux does not). */
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

struct guarded {
  struct bpf_res_spin_lock lock;
  __u32 count;
};
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct guarded);
} values SEC(".maps");

private(A) struct bpf_res_spin_lock lock_a;
private(B) struct bpf_res_spin_lock lock_b;
private(S) struct bpf_spin_lock plain;
struct item {
  __u32 number;
  struct bpf_list_node node;
};
private(L) struct bpf_res_spin_lock list_lock;
private(L) struct bpf_list_head list __contains(item, node);
__u64 number;
struct unlocked {
  __u32 number;
};

static struct guarded* value_of(__u32 key) { return bpf_map_lookup_elem(&values, &key); }

SEC("tc") int lock_again__unasked(struct __sk_buff* ctx) {
  bpf_res_spin_lock(&lock_a);
  bpf_res_spin_lock(&lock_a);
  return 0;
}
SEC("tc") int lock_again__where_it_was_given(struct __sk_buff* ctx) {
  struct guarded* value = value_of(0);
  if (!value || bpf_res_spin_lock(&value->lock)) return 0;
  if (bpf_res_spin_lock(&value->lock) == 0) bpf_res_spin_unlock(&value->lock);
  bpf_res_spin_unlock(&value->lock);
  return 0;
}
SEC("tc") int lock_again__with_interrupts(struct __sk_buff* ctx) {
  unsigned long flags;
  if (bpf_res_spin_lock(&lock_a)) return 0;
  if (bpf_res_spin_lock_irqsave(&lock_a, &flags) == 0) bpf_res_spin_unlock_irqrestore(&lock_a, &flags);
  bpf_res_spin_unlock(&lock_a);
  return 0;
}
SEC("tc") int lock_still_held__unasked(struct __sk_buff* ctx) {
  bpf_res_spin_lock(&lock_a);
  return 0;
}
SEC("tc") int lock_not_held__unasked(struct __sk_buff* ctx) {
  bpf_res_spin_lock(&lock_a);
  bpf_res_spin_unlock(&lock_a);
  return 0;
}
SEC("tc") int lock_still_held__where_it_was_given(struct __sk_buff* ctx) {
  if (bpf_res_spin_lock(&lock_a)) return 0;
  if (bpf_res_spin_lock(&lock_b)) return 0;
  bpf_res_spin_unlock(&lock_b);
  bpf_res_spin_unlock(&lock_a);
  return 0;
}
SEC("tc") int lock_other__a_value(struct __sk_buff* ctx) {
  struct guarded* value = value_of(0);
  if (!value || bpf_res_spin_lock(&value->lock)) return 0;
  bpf_res_spin_unlock(&lock_a);
  return 0;
}
SEC("tc") int lock_other__the_same_found_again(struct __sk_buff* ctx) {
  struct guarded *first = value_of(0), *second = value_of(0);
  if (!first || !second || bpf_res_spin_lock(&first->lock)) return 0;
  bpf_res_spin_unlock(&second->lock);
  return 0;
}
SEC("tc") int lock_other__flags_saved_before(struct __sk_buff* ctx) {
  unsigned long flags;
  bpf_local_irq_save(&flags);
  if (bpf_res_spin_lock(&lock_a)) return 0;
  bpf_res_spin_unlock_irqrestore(&lock_a, &flags);
  return 0;
}
SEC("tc") int lock_other__flags_forgotten(struct __sk_buff* ctx) {
  unsigned long flags;
  if (bpf_res_spin_lock_irqsave(&lock_a, &flags)) return 0;
  bpf_res_spin_unlock(&lock_a);
  return 0;
}
SEC("tc") int lock_order__two(struct __sk_buff* ctx) {
  if (bpf_res_spin_lock(&lock_a)) return 0;
  if (bpf_res_spin_lock(&lock_b)) {
    bpf_res_spin_unlock(&lock_a);
    return 0;
  }
  bpf_res_spin_unlock(&lock_a);
  bpf_res_spin_unlock(&lock_b);
  return 0;
}
SEC("tc") int lock_order__a_plain_one(struct __sk_buff* ctx) {
  bpf_spin_lock(&plain);
  if (bpf_res_spin_lock(&lock_a)) {
    bpf_spin_unlock(&plain);
    return 0;
  }
  bpf_spin_unlock(&plain);
  bpf_res_spin_unlock(&lock_a);
  return 0;
}
SEC("tc") int lock_held__restoring_its_flags(struct __sk_buff* ctx) {
  unsigned long flags;
  if (bpf_res_spin_lock_irqsave(&lock_a, &flags)) return 0;
  bpf_local_irq_restore(&flags);
  bpf_res_spin_unlock(&lock_a);
  return 0;
}
SEC("tc") int irq_other__of_none(struct __sk_buff* ctx) {
  unsigned long outer, flags;
  bpf_local_irq_save(&outer);
  if (bpf_res_spin_lock_irqsave(&lock_a, &flags)) {
    bpf_local_irq_restore(&outer);
    return 0;
  }
  bpf_res_spin_unlock_irqrestore(&lock_a, &outer);
  bpf_local_irq_restore(&flags);
  return 0;
}
SEC("tc") int irq_order__of_two_locks(struct __sk_buff* ctx) {
  unsigned long outer, inner;
  if (bpf_res_spin_lock_irqsave(&lock_a, &outer)) return 0;
  if (bpf_res_spin_lock_irqsave(&lock_b, &inner)) {
    bpf_res_spin_unlock_irqrestore(&lock_a, &outer);
    return 0;
  }
  bpf_res_spin_unlock_irqrestore(&lock_b, &outer);
  bpf_res_spin_unlock_irqrestore(&lock_a, &inner);
  return 0;
}
SEC("tc") int wrong_argument__flags_of_no_lock(struct __sk_buff* ctx) {
  unsigned long flags;
  if (bpf_res_spin_lock_irqsave(&lock_a, &flags)) {
    bpf_local_irq_restore(&flags);
    return 0;
  }
  bpf_res_spin_unlock_irqrestore(&lock_a, &flags);
  return 0;
}
SEC("tc") int lock_held__a_helper(struct __sk_buff* ctx) {
  if (bpf_res_spin_lock(&lock_a)) return 0;
  number = bpf_ktime_get_ns();
  bpf_res_spin_unlock(&lock_a);
  return 0;
}
SEC("tc") int lock_held__a_plain_lock(struct __sk_buff* ctx) {
  if (bpf_res_spin_lock(&lock_a)) return 0;
  bpf_spin_lock(&plain);
  bpf_spin_unlock(&plain);
  bpf_res_spin_unlock(&lock_a);
  return 0;
}
SEC("tc") int lock_for_graph__of_another_lock(struct __sk_buff* ctx) {
  struct item* made = bpf_obj_new(struct item);
  if (!made) return 0;
  if (bpf_res_spin_lock(&lock_a)) {
    bpf_obj_drop(made);
    return 0;
  }
  bpf_list_push_back(&list, &made->node);
  bpf_res_spin_unlock(&lock_a);
  return 0;
}
SEC("tc") int special_field_touched__lock(struct __sk_buff* ctx) {
  struct guarded* value = value_of(0);
  if (value) value->lock.val = 0;
  return 0;
}
SEC("tc") int wrong_argument__beside_the_lock(struct __sk_buff* ctx) {
  struct guarded* value = value_of(0);
  if (value) bpf_res_spin_lock((void*)&value->lock + 1);
  return 0;
}
SEC("tc") int wrong_argument__somewhere(struct __sk_buff* ctx) {
  struct guarded* value = value_of(0);
  if (value) bpf_res_spin_lock((void*)value + (number & 4));
  return 0;
}
SEC("tc") int wrong_argument__a_number(struct __sk_buff* ctx) {
  bpf_res_spin_lock((void*)&number);
  return 0;
}
SEC("tc") int wrong_argument__a_plain_lock(struct __sk_buff* ctx) {
  bpf_res_spin_lock((void*)&plain);
  return 0;
}
SEC("tc") int wrong_argument__a_lock_for_the_plain(struct __sk_buff* ctx) {
  bpf_spin_lock((void*)&lock_a);
  return 0;
}
SEC("tc") int wrong_argument__an_object(struct __sk_buff* ctx) {
  struct unlocked* made = bpf_obj_new(struct unlocked);
  if (!made) return 0;
  bpf_res_spin_lock((void*)made);
  return 0;
}
struct locked_alone {
  struct bpf_res_spin_lock lock;
  __u32 number;
};
SEC("tc") int user_takes__an_object_of_locks(struct __sk_buff* ctx) {
  struct locked_alone* made = bpf_obj_new(struct locked_alone);
  if (!made) return 0;
  if (bpf_res_spin_lock(&made->lock) == 0) bpf_res_spin_unlock(&made->lock);
  bpf_obj_drop(made);
  return 0;
}
SEC("tc") int wrong_argument__the_stack(struct __sk_buff* ctx) {
  struct bpf_res_spin_lock own = {};
  bpf_res_spin_lock(&own);
  return 0;
}
SEC("tc") int wrong_argument__the_context(struct __sk_buff* ctx) {
  bpf_res_spin_lock((void*)ctx);
  return 0;
}
SEC("kprobe/f") int lock_not_for_type__kprobe(void* ctx) {
  if (bpf_res_spin_lock(&lock_a)) return 0;
  bpf_res_spin_unlock(&lock_a);
  return 0;
}
SEC("socket") int lock_not_for_type__filter(struct __sk_buff* ctx) {
  if (bpf_res_spin_lock(&lock_a)) return 0;
  bpf_res_spin_unlock(&lock_a);
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
