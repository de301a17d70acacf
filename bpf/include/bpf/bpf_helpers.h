/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * What a BPF program in libbpf's style begins with: sections, map descriptions, helpers, printing.
 *
 * The names are those that programs everywhere use (libbpf's), so sources compile unchanged; the code is
 * skep's. Include "vmlinux.h" or <linux/types.h> and <linux/bpf.h> first: the integer types come from there.
 * Source: libbpf's documentation (docs.kernel.org/bpf/libbpf), kernel Documentation/bpf/btf.rst section 3.3.
 */
#ifndef SKEP_BPF_HELPERS_H
#define SKEP_BPF_HELPERS_H

#include <bpf/bpf_helper_defs.h>
#include <skep/macro.h>

/* ---- describing maps: numbers and types are kept in BTF, so they take no space in the object ------------- */

#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]
#define __ulong(name, val) enum { SKEP_JOIN(skep_enumerator_, __COUNTER__) = val } name

enum libbpf_pin_type { LIBBPF_PIN_NONE, LIBBPF_PIN_BY_NAME };
enum libbpf_tristate { TRI_NO, TRI_YES, TRI_MODULE };

/* ---- places and attributes ------------------------------------------------------------------------------- */

#define SEC(name)                                                                                   \
  _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wignored-attributes\"")         \
      __attribute__((section(name), used)) _Pragma("GCC diagnostic pop")

#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#ifndef __noinline
#define __noinline __attribute__((noinline))
#endif
#ifndef __weak
#define __weak __attribute__((weak))
#endif
#ifndef __hidden
#define __hidden __attribute__((visibility("hidden")))
#endif

#define __kconfig __attribute__((section(".kconfig")))
#define __ksym __attribute__((section(".ksyms")))
#define __kptr_untrusted __attribute__((btf_type_tag("kptr_untrusted")))
#define __kptr __attribute__((btf_type_tag("kptr")))
#define __percpu_kptr __attribute__((btf_type_tag("percpu_kptr")))
#define __uptr __attribute__((btf_type_tag("uptr")))
#define __arg_ctx __attribute__((btf_decl_tag("arg:ctx")))
#define __arg_nonnull __attribute((btf_decl_tag("arg:nonnull")))
#define __arg_nullable __attribute((btf_decl_tag("arg:nullable")))
#define __arg_trusted __attribute((btf_decl_tag("arg:trusted")))
#define __arg_untrusted __attribute((btf_decl_tag("arg:untrusted")))
#define __arg_arena __attribute((btf_decl_tag("arg:arena")))

#ifndef NULL
#define NULL ((void *)0)
#endif
#ifndef KERNEL_VERSION
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))
#endif
#ifndef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)
#endif
#ifndef container_of
#define container_of(pointer, type, member)                    \
  ({                                                           \
    void *skep_member = (void *)(pointer);                     \
    ((type *)(skep_member - __builtin_offsetof(type, member))); \
  })
#endif
#ifndef barrier
#define barrier() asm volatile("" ::: "memory")
#endif
#ifndef barrier_var
/* The compiler must forget what it knows about the variable, so that a bounds check stays where it is. */
#define barrier_var(var) asm volatile("" : "+r"(var))
#endif
/* Code that is never reached must not fall through: the call cannot be resolved, should it be reached after all. */
#ifndef __bpf_unreachable
#define __bpf_unreachable() __builtin_trap()
#endif

#define bpf_ksym_exists(symbol) (&(symbol) != 0)

/* A tail call to a constant slot: the kernel can then patch in a direct jump. */
static __always_inline void bpf_tail_call_static(void *ctx, const void *map, const __u32 slot) {
  asm volatile("r1 = %[ctx]\n\tr2 = %[map]\n\tr3 = %[slot]\n\tcall 12"
               :
               : [ctx] "r"(ctx), [map] "r"(map), [slot] "i"(slot)
               : "r0", "r1", "r2", "r3", "r4", "r5");
}

/* ---- printing ---------------------------------------------------------------------------------------------- */

#ifdef BPF_NO_GLOBAL_DATA
#define BPF_PRINTK_FMT_MOD
#else
#define BPF_PRINTK_FMT_MOD static const
#endif

#define SKEP_U64(value) (unsigned long long)(value)
#define SKEP_LIST_0()
#define SKEP_LIST_1(a) SKEP_U64(a)
#define SKEP_LIST_2(a, ...) SKEP_U64(a), SKEP_LIST_1(__VA_ARGS__)
#define SKEP_LIST_3(a, ...) SKEP_U64(a), SKEP_LIST_2(__VA_ARGS__)
#define SKEP_LIST_4(a, ...) SKEP_U64(a), SKEP_LIST_3(__VA_ARGS__)
#define SKEP_LIST_5(a, ...) SKEP_U64(a), SKEP_LIST_4(__VA_ARGS__)
#define SKEP_LIST_6(a, ...) SKEP_U64(a), SKEP_LIST_5(__VA_ARGS__)
#define SKEP_LIST_7(a, ...) SKEP_U64(a), SKEP_LIST_6(__VA_ARGS__)
#define SKEP_LIST_8(a, ...) SKEP_U64(a), SKEP_LIST_7(__VA_ARGS__)
#define SKEP_LIST_9(a, ...) SKEP_U64(a), SKEP_LIST_8(__VA_ARGS__)
#define SKEP_LIST_10(a, ...) SKEP_U64(a), SKEP_LIST_9(__VA_ARGS__)
#define SKEP_LIST_11(a, ...) SKEP_U64(a), SKEP_LIST_10(__VA_ARGS__)
#define SKEP_LIST_12(a, ...) SKEP_U64(a), SKEP_LIST_11(__VA_ARGS__)
/* The values as an array of u64, the way the kernel's longer printing helpers take them. */
#define SKEP_VALUES(...) unsigned long long skep_values[] = {SKEP_PICK(SKEP_LIST_, ##__VA_ARGS__)(__VA_ARGS__)}

#define SKEP_PRINTK_DIRECT(format, ...)                                       \
  ({                                                                          \
    BPF_PRINTK_FMT_MOD char skep_format[] = format;                           \
    bpf_trace_printk(skep_format, sizeof(skep_format), ##__VA_ARGS__);        \
  })
#define SKEP_PRINTK_LIST(format, ...)                                                        \
  ({                                                                                         \
    static const char skep_format[] = format;                                                \
    SKEP_VALUES(__VA_ARGS__);                                                                \
    bpf_trace_vprintk(skep_format, sizeof(skep_format), skep_values, sizeof(skep_values));   \
  })
#define SKEP_PRINTK_0 SKEP_PRINTK_DIRECT
#define SKEP_PRINTK_1 SKEP_PRINTK_DIRECT
#define SKEP_PRINTK_2 SKEP_PRINTK_DIRECT
#define SKEP_PRINTK_3 SKEP_PRINTK_DIRECT
#define SKEP_PRINTK_4 SKEP_PRINTK_LIST
#define SKEP_PRINTK_5 SKEP_PRINTK_LIST
#define SKEP_PRINTK_6 SKEP_PRINTK_LIST
#define SKEP_PRINTK_7 SKEP_PRINTK_LIST
#define SKEP_PRINTK_8 SKEP_PRINTK_LIST
#define SKEP_PRINTK_9 SKEP_PRINTK_LIST
#define SKEP_PRINTK_10 SKEP_PRINTK_LIST
#define SKEP_PRINTK_11 SKEP_PRINTK_LIST
#define SKEP_PRINTK_12 SKEP_PRINTK_LIST
/* A line in the trace pipe. Up to 3 values on every kernel, up to 12 since 5.16. */
#define bpf_printk(format, ...) SKEP_JOIN(SKEP_PRINTK_, SKEP_COUNT(__VA_ARGS__))(format, ##__VA_ARGS__)

#define BPF_SNPRINTF(to, to_size, format, ...)                                             \
  ({                                                                                       \
    static const char skep_format[] = format;                                              \
    SKEP_VALUES(__VA_ARGS__);                                                              \
    bpf_snprintf(to, to_size, skep_format, skep_values, sizeof(skep_values));              \
  })
#define BPF_SEQ_PRINTF(seq, format, ...)                                                             \
  ({                                                                                                 \
    static const char skep_format[] = format;                                                        \
    SKEP_VALUES(__VA_ARGS__);                                                                        \
    bpf_seq_printf(seq, skep_format, sizeof(skep_format), skep_values, sizeof(skep_values));         \
  })

/* ---- loops that the kernel counts (since 6.4) ---------------------------------------------------------------- */

struct bpf_iter_num;
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __weak __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __weak __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __weak __ksym;

#define SKEP_ITERATOR(kind)                                                                      \
  struct bpf_iter_##kind skep_it __attribute__((aligned(8), cleanup(bpf_iter_##kind##_destroy)))

#ifndef bpf_for_each
/* for (variable = each element of an open-coded iterator): bpf_for_each(task, t, NULL, 0) {...} */
#define bpf_for_each(kind, variable, ...)                                                                \
  for (SKEP_ITERATOR(kind),                                                                              \
       *skep_p __attribute__((unused)) = (bpf_iter_##kind##_new(&skep_it, ##__VA_ARGS__),                \
                                          (void)bpf_iter_##kind##_destroy, (void *)0);                   \
       (((variable) = bpf_iter_##kind##_next(&skep_it)));)
#endif
#ifndef bpf_for
/* for (i = start; i < end; i++), with i known to be in [start, end). */
#define bpf_for(i, start, end)                                                                                 \
  for (SKEP_ITERATOR(num),                                                                                     \
       *skep_p __attribute__((unused)) = (bpf_iter_num_new(&skep_it, (start), (end)),                          \
                                          (void)bpf_iter_num_destroy, (void *)0);                              \
       ({                                                                                                      \
         int *skep_t = bpf_iter_num_next(&skep_it);                                                            \
         (skep_t && ((i) = *skep_t, (i) >= (start) && (i) < (end)));                                           \
       });)
#endif
#ifndef bpf_repeat
#define bpf_repeat(n)                                                                                          \
  for (SKEP_ITERATOR(num),                                                                                     \
       *skep_p __attribute__((unused)) = (bpf_iter_num_new(&skep_it, 0, (n)),                                  \
                                          (void)bpf_iter_num_destroy, (void *)0);                              \
       bpf_iter_num_next(&skep_it);)
#endif

/* ---- records ------------------------------------------------------------------------------------------------- */

/*
 * The types of what is sent through ring buffers and perf event arrays are noted beside the code (section
 * skep.records), so that whoever reads a map can show its records by member. This costs no instruction.
 */
#ifndef SKEP_NO_RECORD_TYPES
/* A function type holds both; clang writes what is pointed at from inside a struct as a name only. */
#define SKEP_RECORD_OF_MAP(map, data) \
  static typeof((data) + 0) (*skep_record_of_map)(typeof(map)) __attribute__((section("skep.records"), used))
#define SKEP_RECORD_TYPE(data) \
  static typeof((data) + 0) skep_record_submitted __attribute__((section("skep.records"), used))

/* A reserved record shows its type when it is submitted, and its map when it is reserved: one function does both. */
#define bpf_ringbuf_reserve(map, size, flags)                                                    \
  ({                                                                                             \
    static typeof(map) skep_record_map __attribute__((section("skep.records"), used));           \
    (bpf_ringbuf_reserve)((map), (size), (flags));                                               \
  })
#define bpf_ringbuf_output(map, data, size, flags)          \
  ({                                                        \
    SKEP_RECORD_OF_MAP(map, data);                          \
    (bpf_ringbuf_output)((map), (data), (size), (flags));   \
  })
#define bpf_perf_event_output(ctx, map, flags, data, size)            \
  ({                                                                  \
    SKEP_RECORD_OF_MAP(map, data);                                    \
    (bpf_perf_event_output)((ctx), (map), (flags), (data), (size));   \
  })
#define bpf_ringbuf_submit(data, flags)       \
  ({                                          \
    SKEP_RECORD_TYPE(data);                   \
    (bpf_ringbuf_submit)((data), (flags));    \
  })
#endif

#endif
