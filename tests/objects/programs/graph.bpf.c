/* Objects of a program's own: lists, trees, references, owned pointers in map values. Every program returns 0, or the
 * number of the step that went wrong. */
#include "objects.h"

struct item {
  __u64 key;
  struct bpf_list_node link;
  struct bpf_rb_node branch;
  struct bpf_refcount references;
  __u64 after;
};
struct plain {
  __u64 a, b;
};
typedef struct plain plain_t; /* clang 14 loses a tag before a structure's own name */
struct holder {
  plain_t __kptr_field* plain;
  __u64 n;
};
typedef struct holder holder_t;
struct slot {
  plain_t __kptr_field* plain;
  holder_t __kptr_field* holder;
  __u64 count;
};

private(A) struct bpf_spin_lock lock;
private(A) struct bpf_list_head list __contains(item, link);
private(A) struct bpf_rb_root tree __contains(item, branch);

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 2);
  __type(key, __u32);
  __type(value, struct slot);
} slots SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4);
  __type(key, __u32);
  __type(value, struct slot);
} table SEC(".maps");

static struct item* make(__u64 key) {
  struct item* made = bpf_obj_new(struct item);
  if (made) made->key = key;
  return made;
}

static _Bool smaller(struct bpf_rb_node* a, const struct bpf_rb_node* b) {
  return container_of(a, struct item, branch)->key < container_of(b, struct item, branch)->key;
}

SEC("tc") int lists(struct __sk_buff* ctx) {
  for (int i = 0; i < 4; i++) {
    struct item* made = make(i);
    if (!made) return 1;
    if (made->after != 0) {
      bpf_obj_drop(made);
      return 2;
    }
    made->after = 100 + i;
    bpf_spin_lock(&lock);
    if (i & 1)
      bpf_list_push_front(&list, &made->link);
    else
      bpf_list_push_back(&list, &made->link);
    bpf_spin_unlock(&lock);
  }
  /* 3 1 0 2 */
  __u64 seen = 0;
  for (int i = 0; i < 4; i++) {
    bpf_spin_lock(&lock);
    struct bpf_list_node* node = i & 1 ? bpf_list_pop_back(&list) : bpf_list_pop_front(&list);
    bpf_spin_unlock(&lock);
    if (!node) return 3;
    struct item* got = container_of(node, struct item, link);
    seen = seen * 10 + got->key;
    __u64 after = got->after, key = got->key;
    bpf_obj_drop(got);
    if (after != 100 + key) return 4;
  }
  bpf_spin_lock(&lock);
  struct bpf_list_node* node = bpf_list_pop_front(&list);
  bpf_spin_unlock(&lock);
  if (node) {
    bpf_obj_drop(container_of(node, struct item, link));
    return 5;
  }
  return seen == 3210 ? 0 : 6;
}

SEC("tc") int trees(struct __sk_buff* ctx) {
  for (int i = 0; i < 16; i++) {
    struct item* made = make(i * 7 % 16);
    if (!made) return 1;
    bpf_spin_lock(&lock);
    bpf_rbtree_add(&tree, &made->branch, smaller);
    bpf_spin_unlock(&lock);
  }
  for (int i = 0; i < 16; i++) {
    bpf_spin_lock(&lock);
    struct bpf_rb_node* node = bpf_rbtree_first(&tree);
    if (!node) {
      bpf_spin_unlock(&lock);
      return 2;
    }
    node = bpf_rbtree_remove(&tree, node);
    bpf_spin_unlock(&lock);
    if (!node) return 3;
    struct item* got = container_of(node, struct item, branch);
    __u64 key = got->key;
    bpf_obj_drop(got);
    if (key != i) return 4;
  }
  bpf_spin_lock(&lock);
  struct bpf_rb_node* node = bpf_rbtree_first(&tree);
  bpf_spin_unlock(&lock);
  return node ? 5 : 0;
}

/* Two pointers to one node: what the first took out of the tree is not in it for the second, and lives until the lock
 * is given back. */
SEC("tc") int aliases(struct __sk_buff* ctx) {
  struct item* made = make(5);
  if (!made) return 1;
  bpf_spin_lock(&lock);
  bpf_rbtree_add(&tree, &made->branch, smaller);
  struct bpf_rb_node* one = bpf_rbtree_first(&tree);
  struct bpf_rb_node* other = bpf_rbtree_first(&tree);
  if (!one || !other) {
    bpf_spin_unlock(&lock);
    return 2;
  }
  one = bpf_rbtree_remove(&tree, one);
  __u64 key = container_of(other, struct item, branch)->key;
  other = bpf_rbtree_remove(&tree, other);
  bpf_spin_unlock(&lock);
  if (one) bpf_obj_drop(container_of(one, struct item, branch));
  if (other) bpf_obj_drop(container_of(other, struct item, branch));
  return one && !other && key == 5 ? 0 : 3;
}

/* In the list and in the tree at once; a third link is refused and costs the reference only. */
SEC("tc") int shared(struct __sk_buff* ctx) {
  struct item* made = make(5);
  if (!made) return 1;
  struct item* second = bpf_refcount_acquire(made);
  struct item* third = bpf_refcount_acquire(made);
  if (!second || !third) { /* never: what is held is there */
    bpf_obj_drop(made);
    if (second) bpf_obj_drop(second);
    if (third) bpf_obj_drop(third);
    return 2;
  }
  bpf_spin_lock(&lock);
  int in_list = bpf_list_push_back(&list, &made->link);
  int in_tree = bpf_rbtree_add(&tree, &second->branch, smaller);
  int again = bpf_list_push_front(&list, &third->link);
  struct bpf_list_node* link = bpf_list_pop_front(&list);
  bpf_spin_unlock(&lock);
  if (!link) return 3;
  container_of(link, struct item, link)->after = 77;
  bpf_obj_drop(container_of(link, struct item, link));
  bpf_spin_lock(&lock);
  struct bpf_rb_node* node = bpf_rbtree_first(&tree);
  if (!node) {
    bpf_spin_unlock(&lock);
    return 4;
  }
  node = bpf_rbtree_remove(&tree, node);
  bpf_spin_unlock(&lock);
  if (!node) return 5;
  struct item* last = container_of(node, struct item, branch);
  __u64 after = last->after;
  bpf_obj_drop(last);
  if (after != 77) return 6;
  if (in_list != 0 || in_tree != 0) return 7;
  return again == -22 ? 0 : 8;
}

/* An owned pointer goes into a map value and comes out; what overwrites the value lets it go. */
SEC("tc") int pointers(struct __sk_buff* ctx) {
  __u32 key = 0;
  struct slot* slot = bpf_map_lookup_elem(&slots, &key);
  if (!slot) return 1;
  struct plain* made = bpf_obj_new(struct plain);
  if (!made) return 2;
  made->a = 41;
  struct plain* before = bpf_kptr_xchg(&slot->plain, made);
  if (before) {
    bpf_obj_drop(before);
    return 3;
  }
  struct plain* back = bpf_kptr_xchg(&slot->plain, 0);
  if (!back) return 4;
  back->a++;
  __u64 a = back->a;
  back = bpf_kptr_xchg(&slot->plain, back);
  if (back) {
    bpf_obj_drop(back);
    return 5;
  }
  struct slot fresh = {.count = 9};
  if (bpf_map_update_elem(&slots, &key, &fresh, BPF_ANY)) return 6;
  back = bpf_kptr_xchg(&slot->plain, 0);
  if (back) {
    bpf_obj_drop(back);
    return 7;
  }
  if (slot->count != 9) return 8;
  return a == 42 ? 0 : 9;
}

/* The same in a hash, where an update is a new element and a deletion lets go. Objects hold objects. */
SEC("tc") int elements(struct __sk_buff* ctx) {
  __u32 key = 3;
  struct slot fresh = {.count = 1};
  if (bpf_map_update_elem(&table, &key, &fresh, BPF_ANY)) return 1;
  struct slot* slot = bpf_map_lookup_elem(&table, &key);
  if (!slot) return 2;
  struct holder* outer = bpf_obj_new(struct holder);
  if (!outer) return 3;
  struct plain* inner = bpf_obj_new(struct plain);
  if (!inner) {
    bpf_obj_drop(outer);
    return 4;
  }
  inner = bpf_kptr_xchg(&outer->plain, inner);
  if (inner) bpf_obj_drop(inner);
  outer = bpf_kptr_xchg(&slot->holder, outer);
  if (outer) {
    bpf_obj_drop(outer);
    return 5;
  }
  fresh.count = 2;
  if (bpf_map_update_elem(&table, &key, &fresh, BPF_EXIST)) return 6;
  slot = bpf_map_lookup_elem(&table, &key);
  if (!slot) return 7;
  outer = bpf_kptr_xchg(&slot->holder, 0);
  if (outer) {
    bpf_obj_drop(outer);
    return 8;
  }
  if (slot->count != 2) return 9;
  return bpf_map_delete_elem(&table, &key) ? 10 : 0;
}

extern struct bpf_list_node* bpf_list_front(struct bpf_list_head* head) __ksym;
extern struct bpf_list_node* bpf_list_back(struct bpf_list_head* head) __ksym;
extern struct bpf_rb_node* bpf_rbtree_root(struct bpf_rb_root* root) __ksym;
extern struct bpf_rb_node* bpf_rbtree_left(struct bpf_rb_root* root, struct bpf_rb_node* node) __ksym;
extern struct bpf_rb_node* bpf_rbtree_right(struct bpf_rb_root* root, struct bpf_rb_node* node) __ksym;

/* Looks at what is linked without taking it out: the ends of a list, a key in a tree. */
SEC("tc") int looks(struct __sk_buff* ctx) {
  for (int i = 0; i < 6; i++) {
    struct item* made = make(10 + i);
    if (!made) return 1;
    struct item* second = bpf_refcount_acquire(made);
    if (!second) {
      bpf_obj_drop(made);
      return 2;
    }
    bpf_spin_lock(&lock);
    bpf_list_push_back(&list, &made->link);
    bpf_rbtree_add(&tree, &second->branch, smaller);
    bpf_spin_unlock(&lock);
  }
  __u64 first = 0, last = 0, found = 0;
  bpf_spin_lock(&lock);
  struct bpf_list_node* end = bpf_list_front(&list);
  if (end) first = container_of(end, struct item, link)->key;
  end = bpf_list_back(&list);
  if (end) last = container_of(end, struct item, link)->key;
  struct bpf_rb_node* node = bpf_rbtree_root(&tree);
  for (int depth = 0; depth < 8 && node; depth++) {
    __u64 key = container_of(node, struct item, branch)->key;
    if (key == 13) {
      found = key;
      break;
    }
    node = key > 13 ? bpf_rbtree_left(&tree, node) : bpf_rbtree_right(&tree, node);
  }
  bpf_spin_unlock(&lock);
  for (int i = 0; i < 6; i++) {
    bpf_spin_lock(&lock);
    struct bpf_list_node* link = bpf_list_pop_front(&list);
    bpf_spin_unlock(&lock);
    if (!link) return 3;
    bpf_obj_drop(container_of(link, struct item, link));
    bpf_spin_lock(&lock);
    node = bpf_rbtree_first(&tree);
    if (!node) {
      bpf_spin_unlock(&lock);
      return 4;
    }
    node = bpf_rbtree_remove(&tree, node);
    bpf_spin_unlock(&lock);
    if (!node) return 5;
    bpf_obj_drop(container_of(node, struct item, branch));
  }
  if (first != 10 || last != 15) return 6;
  return found == 13 ? 0 : 7;
}

/* Leaves objects everywhere: the object that is unloaded takes them along. */
SEC("tc") int leave(struct __sk_buff* ctx) {
  __u32 key = 1;
  struct slot* slot = bpf_map_lookup_elem(&slots, &key);
  struct plain* made = bpf_obj_new(struct plain);
  if (made && slot) made = bpf_kptr_xchg(&slot->plain, made);
  if (made) bpf_obj_drop(made);
  struct item *in_list = make(1), *in_tree = make(2);
  if (!in_list) {
    if (in_tree) bpf_obj_drop(in_tree);
    return 1;
  }
  if (!in_tree) {
    bpf_obj_drop(in_list);
    return 2;
  }
  bpf_spin_lock(&lock);
  bpf_list_push_back(&list, &in_list->link);
  bpf_rbtree_add(&tree, &in_tree->branch, smaller);
  bpf_spin_unlock(&lock);
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
