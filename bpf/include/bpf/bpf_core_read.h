/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Compile once, run everywhere: reading kernel structures whose layout is settled when a program is loaded.
 *
 * clang writes down every member access under preserve_access_index (a CO-RE relocation); the loader then
 * puts in the offsets of the running kernel. BPF_CORE_READ(task, real_parent, tgid) is
 * task->real_parent->tgid with one probe_read for each arrow.
 * Source: kernel Documentation/bpf/llvm_reloc.rst; clang's __builtin_preserve_* reference.
 */
#ifndef SKEP_BPF_CORE_READ_H
#define SKEP_BPF_CORE_READ_H

#include <bpf/bpf_helpers.h>

/* What is asked of a field, a type, an enumerator: numbers of clang's builtins. */
enum bpf_field_info_kind {
  BPF_FIELD_BYTE_OFFSET = 0,
  BPF_FIELD_BYTE_SIZE = 1,
  BPF_FIELD_EXISTS = 2,
  BPF_FIELD_SIGNED = 3,
  BPF_FIELD_LSHIFT_U64 = 4,
  BPF_FIELD_RSHIFT_U64 = 5,
};
enum bpf_type_id_kind { BPF_TYPE_ID_LOCAL = 0, BPF_TYPE_ID_TARGET = 1 };
enum bpf_type_info_kind { BPF_TYPE_EXISTS = 0, BPF_TYPE_SIZE = 1, BPF_TYPE_MATCHES = 2 };
enum bpf_enum_value_kind { BPF_ENUMVAL_EXISTS = 0, BPF_ENUMVAL_VALUE = 1 };

/* ---- questions ---------------------------------------------------------------------------------------------- */

#define SKEP_FIELD_1(field) field
#define SKEP_FIELD_2(type, field) (((typeof(type) *)0)->field)
#define SKEP_FIELD(...) SKEP_PICK(SKEP_FIELD_, ##__VA_ARGS__)(__VA_ARGS__)

/* Each takes (pointer->member) or (struct type, member). */
#define bpf_core_field_exists(...) __builtin_preserve_field_info(SKEP_FIELD(__VA_ARGS__), BPF_FIELD_EXISTS)
#define bpf_core_field_size(...) __builtin_preserve_field_info(SKEP_FIELD(__VA_ARGS__), BPF_FIELD_BYTE_SIZE)
#define bpf_core_field_offset(...) __builtin_preserve_field_info(SKEP_FIELD(__VA_ARGS__), BPF_FIELD_BYTE_OFFSET)

#define bpf_core_type_id_local(type) __builtin_btf_type_id(*(typeof(type) *)0, BPF_TYPE_ID_LOCAL)
#define bpf_core_type_id_kernel(type) __builtin_btf_type_id(*(typeof(type) *)0, BPF_TYPE_ID_TARGET)
#define bpf_core_type_exists(type) __builtin_preserve_type_info(*(typeof(type) *)0, BPF_TYPE_EXISTS)
#define bpf_core_type_matches(type) __builtin_preserve_type_info(*(typeof(type) *)0, BPF_TYPE_MATCHES)
#define bpf_core_type_size(type) __builtin_preserve_type_info(*(typeof(type) *)0, BPF_TYPE_SIZE)

/* clang wants the enumerator as a constant of the enum's type behind a pointer. */
#define bpf_core_enum_value_exists(type, value) \
  __builtin_preserve_enum_value(*(typeof(type) *)value, BPF_ENUMVAL_EXISTS)
#define bpf_core_enum_value(type, value) __builtin_preserve_enum_value(*(typeof(type) *)value, BPF_ENUMVAL_VALUE)

/* ---- one read ------------------------------------------------------------------------------------------------ */

#define bpf_core_read(to, size, from) \
  bpf_probe_read_kernel(to, size, (const void *)__builtin_preserve_access_index(from))
#define bpf_core_read_user(to, size, from) \
  bpf_probe_read_user(to, size, (const void *)__builtin_preserve_access_index(from))
#define bpf_core_read_str(to, size, from) \
  bpf_probe_read_kernel_str(to, size, (const void *)__builtin_preserve_access_index(from))
#define bpf_core_read_user_str(to, size, from) \
  bpf_probe_read_user_str(to, size, (const void *)__builtin_preserve_access_index(from))

extern void *bpf_rdonly_cast(const void *pointer, __u32 type_id) __ksym __weak;
#define bpf_core_cast(pointer, type) ((typeof(type) *)bpf_rdonly_cast((pointer), bpf_core_type_id_kernel(type)))

/* ---- chains --------------------------------------------------------------------------------------------------- */

/* SKEP_ARROWS(p, a, b) is p->a->b: used for its type only. */
#define SKEP_ARROWS_2(p, a) (p)->a
#define SKEP_ARROWS_3(p, a, b) SKEP_ARROWS_2(p, a)->b
#define SKEP_ARROWS_4(p, a, b, c) SKEP_ARROWS_3(p, a, b)->c
#define SKEP_ARROWS_5(p, a, b, c, d) SKEP_ARROWS_4(p, a, b, c)->d
#define SKEP_ARROWS_6(p, a, b, c, d, e) SKEP_ARROWS_5(p, a, b, c, d)->e
#define SKEP_ARROWS_7(p, a, b, c, d, e, f) SKEP_ARROWS_6(p, a, b, c, d, e)->f
#define SKEP_ARROWS_8(p, a, b, c, d, e, f, g) SKEP_ARROWS_7(p, a, b, c, d, e, f)->g
#define SKEP_ARROWS_9(p, a, b, c, d, e, f, g, h) SKEP_ARROWS_8(p, a, b, c, d, e, f, g)->h
#define SKEP_ARROWS_10(p, a, b, c, d, e, f, g, h, i) SKEP_ARROWS_9(p, a, b, c, d, e, f, g, h)->i
#define SKEP_ARROWS(...) SKEP_PICK(SKEP_ARROWS_, ##__VA_ARGS__)(__VA_ARGS__)

/* One step: read the pointer member `m` of *skep_at into skep_at. `base` gives the types. */
#define SKEP_STEP(read, base, m) read((void *)&skep_at, sizeof(skep_at), &((typeof(base))(skep_at))->m);
#define SKEP_STEPS_2(read, p, a)
#define SKEP_STEPS_3(read, p, a, b) SKEP_STEPS_2(read, p, a) SKEP_STEP(read, p, a)
#define SKEP_STEPS_4(read, p, a, b, c) SKEP_STEPS_3(read, p, a, b) SKEP_STEP(read, SKEP_ARROWS_2(p, a), b)
#define SKEP_STEPS_5(read, p, a, b, c, d) SKEP_STEPS_4(read, p, a, b, c) SKEP_STEP(read, SKEP_ARROWS_3(p, a, b), c)
#define SKEP_STEPS_6(read, p, a, b, c, d, e) \
  SKEP_STEPS_5(read, p, a, b, c, d) SKEP_STEP(read, SKEP_ARROWS_4(p, a, b, c), d)
#define SKEP_STEPS_7(read, p, a, b, c, d, e, f) \
  SKEP_STEPS_6(read, p, a, b, c, d, e) SKEP_STEP(read, SKEP_ARROWS_5(p, a, b, c, d), e)
#define SKEP_STEPS_8(read, p, a, b, c, d, e, f, g) \
  SKEP_STEPS_7(read, p, a, b, c, d, e, f) SKEP_STEP(read, SKEP_ARROWS_6(p, a, b, c, d, e), f)
#define SKEP_STEPS_9(read, p, a, b, c, d, e, f, g, h) \
  SKEP_STEPS_8(read, p, a, b, c, d, e, f, g) SKEP_STEP(read, SKEP_ARROWS_7(p, a, b, c, d, e, f), g)
#define SKEP_STEPS_10(read, p, a, b, c, d, e, f, g, h, i) \
  SKEP_STEPS_9(read, p, a, b, c, d, e, f, g, h) SKEP_STEP(read, SKEP_ARROWS_8(p, a, b, c, d, e, f, g), h)

/* The last read: member `last` of what skep_at points at, whose type is that of the chain before it. */
#define SKEP_LAST_2(p, a) &((typeof(p))(skep_at))->a
#define SKEP_LAST_3(p, a, b) &((typeof(SKEP_ARROWS_2(p, a)))(skep_at))->b
#define SKEP_LAST_4(p, a, b, c) &((typeof(SKEP_ARROWS_3(p, a, b)))(skep_at))->c
#define SKEP_LAST_5(p, a, b, c, d) &((typeof(SKEP_ARROWS_4(p, a, b, c)))(skep_at))->d
#define SKEP_LAST_6(p, a, b, c, d, e) &((typeof(SKEP_ARROWS_5(p, a, b, c, d)))(skep_at))->e
#define SKEP_LAST_7(p, a, b, c, d, e, f) &((typeof(SKEP_ARROWS_6(p, a, b, c, d, e)))(skep_at))->f
#define SKEP_LAST_8(p, a, b, c, d, e, f, g) &((typeof(SKEP_ARROWS_7(p, a, b, c, d, e, f)))(skep_at))->g
#define SKEP_LAST_9(p, a, b, c, d, e, f, g, h) &((typeof(SKEP_ARROWS_8(p, a, b, c, d, e, f, g)))(skep_at))->h
#define SKEP_LAST_10(p, a, b, c, d, e, f, g, h, i) &((typeof(SKEP_ARROWS_9(p, a, b, c, d, e, f, g, h)))(skep_at))->i

#define SKEP_READ_INTO(pointer_read, last_read, to, size, p, ...)                             \
  ({                                                                                          \
    const void *skep_at = (const void *)(p);                                                  \
    SKEP_JOIN(SKEP_STEPS_, SKEP_COUNT(p, __VA_ARGS__))(pointer_read, p, __VA_ARGS__)          \
    last_read((void *)(to), (size), SKEP_PICK(SKEP_LAST_, p, __VA_ARGS__)(p, __VA_ARGS__));                   \
  })
#define SKEP_READ(pointer_read, p, ...)                                                                  \
  ({                                                                                                     \
    typeof(SKEP_ARROWS(p, __VA_ARGS__)) skep_value;                                                      \
    SKEP_READ_INTO(pointer_read, pointer_read, &skep_value, sizeof(skep_value), p, __VA_ARGS__);         \
    skep_value;                                                                                          \
  })

/* pointer, member, member, ...: the value, or into `*to`, or as a string into the array `*to`. */
#define BPF_CORE_READ(p, ...) SKEP_READ(bpf_core_read, p, __VA_ARGS__)
#define BPF_CORE_READ_INTO(to, p, ...) SKEP_READ_INTO(bpf_core_read, bpf_core_read, to, sizeof(*(to)), p, __VA_ARGS__)
#define BPF_CORE_READ_STR_INTO(to, p, ...) \
  SKEP_READ_INTO(bpf_core_read, bpf_core_read_str, to, sizeof(*(to)), p, __VA_ARGS__)
#define BPF_CORE_READ_USER(p, ...) SKEP_READ(bpf_core_read_user, p, __VA_ARGS__)
#define BPF_CORE_READ_USER_INTO(to, p, ...) \
  SKEP_READ_INTO(bpf_core_read_user, bpf_core_read_user, to, sizeof(*(to)), p, __VA_ARGS__)
#define BPF_CORE_READ_USER_STR_INTO(to, p, ...) \
  SKEP_READ_INTO(bpf_core_read_user, bpf_core_read_user_str, to, sizeof(*(to)), p, __VA_ARGS__)

/* The same without relocations, for structs that are the same everywhere. */
#define BPF_PROBE_READ(p, ...) SKEP_READ(bpf_probe_read_kernel, p, __VA_ARGS__)
#define BPF_PROBE_READ_INTO(to, p, ...) \
  SKEP_READ_INTO(bpf_probe_read_kernel, bpf_probe_read_kernel, to, sizeof(*(to)), p, __VA_ARGS__)
#define BPF_PROBE_READ_STR_INTO(to, p, ...) \
  SKEP_READ_INTO(bpf_probe_read_kernel, bpf_probe_read_kernel_str, to, sizeof(*(to)), p, __VA_ARGS__)
#define BPF_PROBE_READ_USER(p, ...) SKEP_READ(bpf_probe_read_user, p, __VA_ARGS__)
#define BPF_PROBE_READ_USER_INTO(to, p, ...) \
  SKEP_READ_INTO(bpf_probe_read_user, bpf_probe_read_user, to, sizeof(*(to)), p, __VA_ARGS__)
#define BPF_PROBE_READ_USER_STR_INTO(to, p, ...) \
  SKEP_READ_INTO(bpf_probe_read_user, bpf_probe_read_user_str, to, sizeof(*(to)), p, __VA_ARGS__)

/* ---- bit-fields ----------------------------------------------------------------------------------------------- */

#define SKEP_FIELD_INFO(p, field, kind) __builtin_preserve_field_info((p)->field, BPF_FIELD_##kind)
/* The bits moved to the top and back down, which extends them by sign or with zeroes. */
#define SKEP_BITS(p, field, raw)                                                            \
  ({                                                                                        \
    unsigned long long skep_bits = (raw) << SKEP_FIELD_INFO(p, field, LSHIFT_U64);          \
    SKEP_FIELD_INFO(p, field, SIGNED)                                                       \
    ? (unsigned long long)((long long)skep_bits >> SKEP_FIELD_INFO(p, field, RSHIFT_U64))   \
    : skep_bits >> SKEP_FIELD_INFO(p, field, RSHIFT_U64);                                   \
  })
/* Of a structure that must be read with a helper. */
#define BPF_CORE_READ_BITFIELD_PROBED(p, field)                                                                \
  ({                                                                                                           \
    unsigned long long skep_raw = 0;                                                                           \
    bpf_probe_read_kernel(&skep_raw, SKEP_FIELD_INFO(p, field, BYTE_SIZE),                                     \
                          (const void *)(p) + SKEP_FIELD_INFO(p, field, BYTE_OFFSET));                         \
    SKEP_BITS(p, field, skep_raw);                                                                             \
  })
/* Of a structure that may be read directly. */
#define BPF_CORE_READ_BITFIELD(p, field)                                                       \
  ({                                                                                           \
    const void *skep_p = (const void *)(p) + SKEP_FIELD_INFO(p, field, BYTE_OFFSET);           \
    unsigned long long skep_raw = 0;                                                           \
    asm volatile("" : "+r"(skep_p));                                                           \
    switch (SKEP_FIELD_INFO(p, field, BYTE_SIZE)) {                                            \
      case 1:                                                                                  \
        skep_raw = *(const unsigned char *)skep_p;                                             \
        break;                                                                                 \
      case 2:                                                                                  \
        skep_raw = *(const unsigned short *)skep_p;                                            \
        break;                                                                                 \
      case 4:                                                                                  \
        skep_raw = *(const unsigned int *)skep_p;                                              \
        break;                                                                                 \
      case 8:                                                                                  \
        skep_raw = *(const unsigned long long *)skep_p;                                        \
        break;                                                                                 \
    }                                                                                          \
    SKEP_BITS(p, field, skep_raw);                                                             \
  })

#endif
