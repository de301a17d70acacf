/* CPU masks and strings in a syscall program, so that they can be compared with the kernel's. */
#include "objects.h"

struct cpumask;
struct bpf_cpumask {
  __u64 opaque;
};
/* Those that answer yes or no set the lowest byte of r0 alone, which clang 14 does not expect of a _Bool: hence 1 & ...
 */
extern struct bpf_cpumask* bpf_cpumask_create(void) __ksym;
extern void bpf_cpumask_release(struct bpf_cpumask* mask) __ksym;
extern struct bpf_cpumask* bpf_cpumask_acquire(struct bpf_cpumask* mask) __ksym;
extern __u32 bpf_cpumask_first(const struct cpumask* mask) __ksym;
extern __u32 bpf_cpumask_first_zero(const struct cpumask* mask) __ksym;
extern __u32 bpf_cpumask_first_and(const struct cpumask* a, const struct cpumask* b) __ksym;
extern void bpf_cpumask_set_cpu(__u32 cpu, struct bpf_cpumask* mask) __ksym;
extern void bpf_cpumask_clear_cpu(__u32 cpu, struct bpf_cpumask* mask) __ksym;
extern int bpf_cpumask_test_cpu(__u32 cpu, const struct cpumask* mask) __ksym;
extern int bpf_cpumask_test_and_set_cpu(__u32 cpu, struct bpf_cpumask* mask) __ksym;
extern int bpf_cpumask_test_and_clear_cpu(__u32 cpu, struct bpf_cpumask* mask) __ksym;
extern void bpf_cpumask_setall(struct bpf_cpumask* mask) __ksym;
extern void bpf_cpumask_clear(struct bpf_cpumask* mask) __ksym;
extern int bpf_cpumask_and(struct bpf_cpumask* to, const struct cpumask* a, const struct cpumask* b) __ksym;
extern void bpf_cpumask_or(struct bpf_cpumask* to, const struct cpumask* a, const struct cpumask* b) __ksym;
extern void bpf_cpumask_xor(struct bpf_cpumask* to, const struct cpumask* a, const struct cpumask* b) __ksym;
extern int bpf_cpumask_equal(const struct cpumask* a, const struct cpumask* b) __ksym;
extern int bpf_cpumask_intersects(const struct cpumask* a, const struct cpumask* b) __ksym;
extern int bpf_cpumask_subset(const struct cpumask* a, const struct cpumask* b) __ksym;
extern int bpf_cpumask_empty(const struct cpumask* mask) __ksym;
extern int bpf_cpumask_full(const struct cpumask* mask) __ksym;
extern void bpf_cpumask_copy(struct bpf_cpumask* to, const struct cpumask* from) __ksym;
extern __u32 bpf_cpumask_any_distribute(const struct cpumask* mask) __ksym;
extern __u32 bpf_cpumask_any_and_distribute(const struct cpumask* a, const struct cpumask* b) __ksym;
extern __u32 bpf_cpumask_weight(const struct cpumask* mask) __ksym;

typedef struct bpf_cpumask mask_t; /* clang 14 loses a tag before a structure's own name */
struct kept {
  mask_t __kptr_field* mask;
};
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct kept);
} masks SEC(".maps");

#define C(mask) ((const struct cpumask*)(mask))

static __u32 check(struct bpf_cpumask* a, struct bpf_cpumask* b) {
  if (!(1 & bpf_cpumask_empty(C(a))) || (1 & bpf_cpumask_full(C(a))) || bpf_cpumask_weight(C(a)) != 0) return 1;
  __u32 cpus = bpf_cpumask_first(C(a)); /* of an empty mask: how many CPUs there are, or more */
  if (bpf_cpumask_first_zero(C(a)) != 0) return 2;
  bpf_cpumask_set_cpu(0, a);
  bpf_cpumask_set_cpu(1 << 20, a); /* there is no such CPU */
  if (bpf_cpumask_weight(C(a)) != 1 || bpf_cpumask_first(C(a)) != 0) return 3;
  if (!(1 & bpf_cpumask_test_cpu(0, C(a))) || (1 & bpf_cpumask_test_cpu(1, C(a))) ||
      (1 & bpf_cpumask_test_cpu(1 << 20, C(a))))
    return 4;
  if (!(1 & bpf_cpumask_test_and_set_cpu(0, a)) || (1 & bpf_cpumask_test_and_set_cpu(1 << 20, a))) return 5;
  if ((1 & bpf_cpumask_intersects(C(a), C(b)))) return 6;
  if ((1 & bpf_cpumask_equal(C(a), C(b)))) return 15;
  if (!(1 & bpf_cpumask_subset(C(b), C(a)))) return 16;
  bpf_cpumask_setall(b);
  if (!(1 & bpf_cpumask_full(C(b))) || bpf_cpumask_weight(C(b)) > cpus) return 7;
  if (!(1 & bpf_cpumask_subset(C(a), C(b))) || bpf_cpumask_first_and(C(a), C(b)) != 0) return 8;
  if (bpf_cpumask_any_distribute(C(a)) != 0 || bpf_cpumask_any_and_distribute(C(a), C(b)) != 0) return 9;
  if (!(1 & bpf_cpumask_and(b, C(a), C(b))) || !(1 & bpf_cpumask_equal(C(a), C(b)))) return 10;
  bpf_cpumask_xor(b, C(a), C(b));
  if (!(1 & bpf_cpumask_empty(C(b))) || (1 & bpf_cpumask_and(b, C(a), C(b)))) return 11;
  bpf_cpumask_or(b, C(a), C(b));
  if (!(1 & bpf_cpumask_test_and_clear_cpu(0, b)) || (1 & bpf_cpumask_test_and_clear_cpu(0, b))) return 12;
  bpf_cpumask_copy(b, C(a));
  bpf_cpumask_clear_cpu(0, a);
  if (!(1 & bpf_cpumask_empty(C(a))) || (1 & bpf_cpumask_empty(C(b)))) return 13;
  bpf_cpumask_clear(b);
  return (1 & bpf_cpumask_empty(C(b))) ? 0 : 14;
}

SEC("syscall") int cpus(void* ctx) {
  struct bpf_cpumask *a = bpf_cpumask_create(), *b;
  if (!a) return 100;
  b = bpf_cpumask_create();
  if (!b) {
    bpf_cpumask_release(a);
    return 101;
  }
  __u32 result = check(a, b);
  struct bpf_cpumask* again = bpf_cpumask_acquire(a);
  bpf_cpumask_release(again);
  bpf_cpumask_release(b);
  __u32 key = 0;
  struct kept* kept = bpf_map_lookup_elem(&masks, &key);
  if (!kept) {
    bpf_cpumask_release(a);
    return 102;
  }
  a = bpf_kptr_xchg(&kept->mask, a);
  if (a) bpf_cpumask_release(a);
  return result;
}

char LICENSE[] SEC("license") = "GPL";
