/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * BCC's map macros: BPF_HASH, BPF_ARRAY, BPF_PERF_OUTPUT and their family (part of bcc.h).
 *
 * Each macro writes three things: the map's definition (a BTF description that the loader reads), one
 * inline function for each method, and the constant table `NAME` that holds them. See bcc.h for why
 * nothing of the table is left in the object.
 * Source: BCC's reference guide, chapters "Maps" and "Output".
 */
#ifndef SKEP_BCC_MAPS_H
#define SKEP_BCC_MAPS_H

/* Without debug information of its own: its instructions then belong to the line of the call. */
#define SKEP_METHOD static __always_inline __attribute__((unused, nodebug))
#define SKEP_MAP_ATTRIBUTES __attribute__((section(".maps"), used))
#define SKEP_NUMBER(name, value) int(*name)[value]

/* A pointer to what a map of records carries, noted for whoever decodes them; costs no instruction. */
#define SKEP_RECORD(data)                                                                             \
  ({                                                                                                  \
    static __typeof__((data) + 0) SKEP_JOIN(skep_record__, SKEP_JOIN(SKEP_MAP_AT_, __LINE__))         \
        __attribute__((section("skep.records"), used));                                               \
    (data);                                                                                           \
  })

/* ---- what the methods do ----------------------------------------------------------------------------- */

void skep_needs_integer(void) __attribute__((error(
    "increment() and atomic_increment() need a map whose value is an integer (atomic: of 4 or 8 bytes)")));

SKEP_METHOD void *skep_lookup_or_try_init(void *map, const void *key, const void *initial) {
  void *value = bpf_map_lookup_elem(map, key);
  if (value) return value;
  bpf_map_update_elem(map, key, initial, BPF_NOEXIST);
  return bpf_map_lookup_elem(map, key);
}

/* As BCC defines lookup_or_init: where the map is full, the program ends with 0. */
SKEP_METHOD void *skep_lookup_or_init(void *map, const void *key, const void *initial) {
  void *value = skep_lookup_or_try_init(map, key, initial);
  if (!value) {
    asm volatile("r0 = 0\n\texit" ::: "r0");
    __builtin_unreachable();
  }
  return value;
}

SKEP_METHOD void skep_increment(void *value, u32 size, u64 by) {
  if (size == 8)
    *(u64 *)value += by;
  else if (size == 4)
    *(u32 *)value += by;
  else if (size == 2)
    *(u16 *)value += by;
  else if (size == 1)
    *(u8 *)value += by;
  else
    skep_needs_integer();
}

SKEP_METHOD void skep_atomic_increment(void *value, u32 size, u64 by) {
  if (size == 8)
    __sync_fetch_and_add((u64 *)value, by);
  else if (size == 4)
    __sync_fetch_and_add((u32 *)value, by);
  else
    skep_needs_integer();
}

/* `.increment(key)` and `.increment(key, n)`: the name carries the number of arguments. */
#define increment(...) SKEP_PICK(skep_increment_, ##__VA_ARGS__)(__VA_ARGS__)
#define atomic_increment(...) SKEP_PICK(skep_atomic_increment_, ##__VA_ARGS__)(__VA_ARGS__)

#define perf_submit(context, data, size) perf_submit((context), SKEP_RECORD(data), (size))
#define perf_submit_skb(skb, length, data, size) perf_submit_skb((skb), (length), SKEP_RECORD(data), (size))
#define ringbuf_output(data, size, flags) ringbuf_output(SKEP_RECORD(data), (size), (flags))
#define ringbuf_submit(data, flags) ringbuf_submit(SKEP_RECORD(data), (flags))

/* ---- maps of keys and values ------------------------------------------------------------------------- */

#define SKEP_KEY_VALUE_MAP(name, map_type, key_type, value_type, entries, flags)                              \
  struct {                                                                                                    \
    SKEP_NUMBER(type, map_type);                                                                              \
    __typeof__(key_type) *key;                                                                                \
    __typeof__(value_type) *value;                                                                            \
    SKEP_NUMBER(max_entries, entries);                                                                        \
    SKEP_NUMBER(map_flags, flags);                                                                            \
  } skep_map_##name SKEP_MAP_ATTRIBUTES

#define SKEP_KEY_VALUE_METHODS(name, key_type, value_type)                                                    \
  SKEP_METHOD value_type *skep_##name##_lookup(key_type *key) {                                               \
    return bpf_map_lookup_elem(&skep_map_##name, key);                                                        \
  }                                                                                                           \
  SKEP_METHOD value_type *skep_##name##_lookup_or_try_init(key_type *key, value_type *initial) {              \
    return skep_lookup_or_try_init(&skep_map_##name, key, initial);                                           \
  }                                                                                                           \
  SKEP_METHOD value_type *skep_##name##_lookup_or_init(key_type *key, value_type *initial) {                  \
    return skep_lookup_or_init(&skep_map_##name, key, initial);                                               \
  }                                                                                                           \
  SKEP_METHOD int skep_##name##_update(key_type *key, value_type *value) {                                  \
    return bpf_map_update_elem(&skep_map_##name, key, value, BPF_ANY);                                        \
  }                                                                                                           \
  SKEP_METHOD int skep_##name##_insert(key_type *key, value_type *value) {                                  \
    return bpf_map_update_elem(&skep_map_##name, key, value, BPF_NOEXIST);                                    \
  }                                                                                                           \
  SKEP_METHOD int skep_##name##_delete(key_type *key) {                                                       \
    return bpf_map_delete_elem(&skep_map_##name, key);                                                        \
  }                                                                                                           \
  SKEP_METHOD void skep_##name##_increment_2(key_type key, u64 by) {                                          \
    value_type zero;                                                                                          \
    __builtin_memset(&zero, 0, sizeof zero);                                                                  \
    value_type *value = skep_lookup_or_try_init(&skep_map_##name, &key, &zero);                               \
    if (value) skep_increment(value, sizeof zero, by);                                                        \
  }                                                                                                           \
  SKEP_METHOD void skep_##name##_increment_1(key_type key) {                                                  \
    skep_##name##_increment_2(key, 1);                                                                        \
  }                                                                                                           \
  SKEP_METHOD void skep_##name##_atomic_increment_2(key_type key, u64 by) {                                   \
    value_type zero;                                                                                          \
    __builtin_memset(&zero, 0, sizeof zero);                                                                  \
    value_type *value = skep_lookup_or_try_init(&skep_map_##name, &key, &zero);                               \
    if (value) skep_atomic_increment(value, sizeof zero, by);                                                 \
  }                                                                                                           \
  SKEP_METHOD void skep_##name##_atomic_increment_1(key_type key) {                                           \
    skep_##name##_atomic_increment_2(key, 1);                                                                 \
  }                                                                                                           \
  SKEP_METHOD int skep_##name##_get_stackid(void *context, u64 flags) {                                       \
    return bpf_get_stackid(context, &skep_map_##name, flags);                                                 \
  }                                                                                                           \
  SKEP_METHOD void skep_##name##_call(void *context, u32 index) {                                             \
    bpf_tail_call(context, &skep_map_##name, index);                                                          \
  }                                                                                                           \
  SKEP_METHOD long skep_##name##_redirect_map(u64 key, u64 flags) {                                           \
    return bpf_redirect_map(&skep_map_##name, key, flags);                                                    \
  }                                                                                                           \
  SKEP_METHOD u64 skep_##name##_perf_read(u64 index) {                                                        \
    return bpf_perf_event_read(&skep_map_##name, index);                                                      \
  }                                                                                                           \
  SKEP_METHOD int skep_##name##_perf_counter_value(u64 index, void *to, u32 size) {                           \
    return bpf_perf_event_read_value(&skep_map_##name, index, to, size);                                      \
  }                                                                                                           \
  SKEP_METHOD int skep_##name##_check_current_task(u32 index) {                                               \
    return bpf_current_task_under_cgroup(&skep_map_##name, index);                                            \
  }                                                                                                           \
  static const struct {                                                                                       \
    value_type *(*lookup)(key_type *);                                                                        \
    value_type *(*lookup_or_try_init)(key_type *, value_type *);                                              \
    value_type *(*lookup_or_init)(key_type *, value_type *);                                                  \
    int (*update)(key_type *, value_type *);                                                           \
    int (*insert)(key_type *, value_type *);                                                           \
    int (*delete)(key_type *);                                                                                \
    void (*skep_increment_1)(key_type);                                                                       \
    void (*skep_increment_2)(key_type, u64);                                                                  \
    void (*skep_atomic_increment_1)(key_type);                                                                \
    void (*skep_atomic_increment_2)(key_type, u64);                                                           \
    int (*get_stackid)(void *, u64);                                                                          \
    void (*call)(void *, u32);                                                                                \
    long (*redirect_map)(u64, u64);                                                                           \
    u64 (*perf_read)(u64);                                                                                    \
    int (*perf_counter_value)(u64, void *, u32);                                                              \
    int (*check_current_task)(u32);                                                                           \
  } name __attribute__((unused)) = {                                                                          \
      skep_##name##_lookup,           skep_##name##_lookup_or_try_init,   skep_##name##_lookup_or_init,       \
      skep_##name##_update,         skep_##name##_insert,             \
      skep_##name##_delete,           skep_##name##_increment_1,          skep_##name##_increment_2,          \
      skep_##name##_atomic_increment_1, skep_##name##_atomic_increment_2, skep_##name##_get_stackid,          \
      skep_##name##_call,             skep_##name##_redirect_map,         skep_##name##_perf_read,            \
      skep_##name##_perf_counter_value, skep_##name##_check_current_task,                                     \
  }

#define SKEP_TABLE(name, map_type, key_type, value_type, entries, flags)            \
  SKEP_KEY_VALUE_MAP(name, map_type, key_type, value_type, entries, flags);         \
  SKEP_KEY_VALUE_METHODS(name, __typeof__(key_type), __typeof__(value_type))

/* BPF_TABLE's first argument is a string; comparing it costs nothing at run time. */
#define SKEP_IS(text, name) (__builtin_strcmp((text), (name)) == 0)
#define SKEP_TYPE_NUMBER(text)                                                                              \
  (SKEP_IS(text, "hash")               ? 1                                                                  \
   : SKEP_IS(text, "array")            ? 2                                                                  \
   : SKEP_IS(text, "prog")             ? 3                                                                  \
   : SKEP_IS(text, "perf_array")       ? 4                                                                  \
   : SKEP_IS(text, "percpu_hash")      ? 5                                                                  \
   : SKEP_IS(text, "percpu_array")     ? 6                                                                  \
   : SKEP_IS(text, "stacktrace")       ? 7                                                                  \
   : SKEP_IS(text, "cgroup_array")     ? 8                                                                  \
   : SKEP_IS(text, "lru_hash")         ? 9                                                                  \
   : SKEP_IS(text, "lru_percpu_hash")  ? 10                                                                 \
   : SKEP_IS(text, "lpm_trie")         ? 11                                                                 \
   : SKEP_IS(text, "devmap")           ? 14                                                                 \
   : SKEP_IS(text, "sockmap")          ? 15                                                                 \
   : SKEP_IS(text, "cpumap")           ? 16                                                                 \
   : SKEP_IS(text, "xskmap")           ? 17                                                                 \
   : SKEP_IS(text, "sockhash")         ? 18                                                                 \
   : SKEP_IS(text, "histogram")        ? 1                                                                  \
                                       : -1) /* a negative array size: no such kind of table */
#define BPF_F_TABLE(kind, key_type, value_type, name, entries, flags) \
  SKEP_TABLE(name, SKEP_TYPE_NUMBER(kind), key_type, value_type, entries, flags)
#define BPF_TABLE(kind, key_type, value_type, name, entries) \
  BPF_F_TABLE(kind, key_type, value_type, name, entries, (SKEP_IS(kind, "lpm_trie") ? BPF_F_NO_PREALLOC : 0))
#define BPF_TABLE_PUBLIC BPF_TABLE
#define BPF_TABLE_SHARED BPF_TABLE
/* A table that other programs share by its file, which the loader reads from the variable. */
#define BPF_TABLE_PINNED(kind, key_type, value_type, name, entries, path)                                     \
  static const char skep_pin_##name[] __attribute__((section(".rodata.skep_pins"), used)) = path;             \
  struct {                                                                                                    \
    SKEP_NUMBER(type, SKEP_TYPE_NUMBER(kind));                                                                \
    __typeof__(key_type) *key;                                                                                \
    __typeof__(value_type) *value;                                                                            \
    SKEP_NUMBER(max_entries, entries);                                                                        \
    SKEP_NUMBER(pinning, 1);                                                                                  \
  } skep_map_##name SKEP_MAP_ATTRIBUTES;                                                                      \
  SKEP_KEY_VALUE_METHODS(name, __typeof__(key_type), __typeof__(value_type))

#define SKEP_HASH_1(name) SKEP_TABLE(name, 1, u64, u64, 10240, 0)
#define SKEP_HASH_2(name, key_type) SKEP_TABLE(name, 1, key_type, u64, 10240, 0)
#define SKEP_HASH_3(name, key_type, value_type) SKEP_TABLE(name, 1, key_type, value_type, 10240, 0)
#define SKEP_HASH_4(name, key_type, value_type, entries) SKEP_TABLE(name, 1, key_type, value_type, entries, 0)
#define BPF_HASH(...) SKEP_PICK(SKEP_HASH_, ##__VA_ARGS__)(__VA_ARGS__)

#define SKEP_PERCPU_HASH_1(name) SKEP_TABLE(name, 5, u64, u64, 10240, 0)
#define SKEP_PERCPU_HASH_2(name, key_type) SKEP_TABLE(name, 5, key_type, u64, 10240, 0)
#define SKEP_PERCPU_HASH_3(name, key_type, value_type) SKEP_TABLE(name, 5, key_type, value_type, 10240, 0)
#define SKEP_PERCPU_HASH_4(name, key_type, value_type, entries) SKEP_TABLE(name, 5, key_type, value_type, entries, 0)
#define BPF_PERCPU_HASH(...) SKEP_PICK(SKEP_PERCPU_HASH_, ##__VA_ARGS__)(__VA_ARGS__)

#define SKEP_LRU_HASH_1(name) SKEP_TABLE(name, 9, u64, u64, 10240, 0)
#define SKEP_LRU_HASH_2(name, key_type) SKEP_TABLE(name, 9, key_type, u64, 10240, 0)
#define SKEP_LRU_HASH_3(name, key_type, value_type) SKEP_TABLE(name, 9, key_type, value_type, 10240, 0)
#define SKEP_LRU_HASH_4(name, key_type, value_type, entries) SKEP_TABLE(name, 9, key_type, value_type, entries, 0)
#define BPF_LRU_HASH(...) SKEP_PICK(SKEP_LRU_HASH_, ##__VA_ARGS__)(__VA_ARGS__)

#define SKEP_ARRAY_1(name) SKEP_TABLE(name, 2, int, u64, 10240, 0)
#define SKEP_ARRAY_2(name, value_type) SKEP_TABLE(name, 2, int, value_type, 10240, 0)
#define SKEP_ARRAY_3(name, value_type, entries) SKEP_TABLE(name, 2, int, value_type, entries, 0)
#define BPF_ARRAY(...) SKEP_PICK(SKEP_ARRAY_, ##__VA_ARGS__)(__VA_ARGS__)

#define SKEP_PERCPU_ARRAY_1(name) SKEP_TABLE(name, 6, int, u64, 10240, 0)
#define SKEP_PERCPU_ARRAY_2(name, value_type) SKEP_TABLE(name, 6, int, value_type, 10240, 0)
#define SKEP_PERCPU_ARRAY_3(name, value_type, entries) SKEP_TABLE(name, 6, int, value_type, entries, 0)
#define BPF_PERCPU_ARRAY(...) SKEP_PICK(SKEP_PERCPU_ARRAY_, ##__VA_ARGS__)(__VA_ARGS__)

/* A histogram over plain numbers is an array; one over structs is a hash. */
#define SKEP_HISTOGRAM_TYPE(key_type) (__builtin_types_compatible_p(__typeof__(key_type), int) ? 2 : 1)
#define SKEP_HISTOGRAM_1(name) SKEP_TABLE(name, 2, int, u64, 64, 0)
#define SKEP_HISTOGRAM_2(name, key_type) SKEP_TABLE(name, SKEP_HISTOGRAM_TYPE(key_type), key_type, u64, 64, 0)
#define SKEP_HISTOGRAM_3(name, key_type, entries) \
  SKEP_TABLE(name, SKEP_HISTOGRAM_TYPE(key_type), key_type, u64, entries, 0)
#define BPF_HISTOGRAM(...) SKEP_PICK(SKEP_HISTOGRAM_, ##__VA_ARGS__)(__VA_ARGS__)

#define SKEP_LPM_TRIE_1(name) SKEP_TABLE(name, 11, u64, u64, 10240, BPF_F_NO_PREALLOC)
#define SKEP_LPM_TRIE_2(name, key_type) SKEP_TABLE(name, 11, key_type, u64, 10240, BPF_F_NO_PREALLOC)
#define SKEP_LPM_TRIE_3(name, key_type, value_type) SKEP_TABLE(name, 11, key_type, value_type, 10240, BPF_F_NO_PREALLOC)
#define SKEP_LPM_TRIE_4(name, key_type, value_type, entries) \
  SKEP_TABLE(name, 11, key_type, value_type, entries, BPF_F_NO_PREALLOC)
#define BPF_LPM_TRIE(...) SKEP_PICK(SKEP_LPM_TRIE_, ##__VA_ARGS__)(__VA_ARGS__)

struct bpf_stacktrace {
  u64 ip[127];
};
/* Of each frame the build id of its file and the place in it: status, id, offset (union with the address). */
struct bpf_stacktrace_buildid {
  struct {
    int status;
    unsigned char build_id[20];
    u64 offset;
  } trace[127];
};
#define BPF_STACK_TRACE(name, entries) SKEP_TABLE(name, 7, int, struct bpf_stacktrace, entries, 0)
#define BPF_STACK_TRACE_BUILDID(name, entries) \
  SKEP_TABLE(name, 7, int, struct bpf_stacktrace_buildid, entries, 32 /* BPF_F_STACK_BUILD_ID */)
#define BPF_PROG_ARRAY(name, entries) SKEP_TABLE(name, 3, u32, u32, entries, 0)
#define BPF_PERF_ARRAY(name, entries) SKEP_TABLE(name, 4, int, u32, entries, 0)
#define BPF_CGROUP_ARRAY(name, entries) SKEP_TABLE(name, 8, int, u32, entries, 0)
#define BPF_DEVMAP(name, entries) SKEP_TABLE(name, 14, int, int, entries, 0)
#define BPF_CPUMAP(name, entries) SKEP_TABLE(name, 16, int, u32, entries, 0)
#define BPF_XSKMAP(name, entries) SKEP_TABLE(name, 17, int, int, entries, 0)
#define BPF_XDP_REDIRECT_MAP(kind, value_type, name, entries) BPF_TABLE(kind, int, value_type, name, entries)

/* ---- sockets by number or by key ------------------------------------------------------------------------------ */

#define SKEP_SOCKETS(name, map_type, kind, key_type, entries)                                                     \
  SKEP_KEY_VALUE_MAP(name, map_type, key_type, u32, entries, 0);                                                  \
  SKEP_METHOD int skep_##name##_update(struct bpf_sock_ops *context, __typeof__(key_type) *key, u64 flags) {      \
    return bpf_sock_##kind##_update(context, &skep_map_##name, key, flags);                                       \
  }                                                                                                               \
  SKEP_METHOD int skep_##name##_delete(__typeof__(key_type) *key) {                                               \
    return bpf_map_delete_elem(&skep_map_##name, key);                                                            \
  }
#define BPF_SOCKMAP(name, entries)                                                                                \
  SKEP_SOCKETS(name, 15, map, u32, entries)                                                                       \
  SKEP_METHOD int skep_##name##_msg(struct sk_msg_md *message, u32 key, u64 flags) {                              \
    return bpf_msg_redirect_map(message, &skep_map_##name, key, flags);                                           \
  }                                                                                                               \
  SKEP_METHOD int skep_##name##_skb(struct __sk_buff *skb, u32 key, u64 flags) {                                  \
    return bpf_sk_redirect_map(skb, &skep_map_##name, key, flags);                                                \
  }                                                                                                               \
  static const struct {                                                                                           \
    int (*sock_map_update)(struct bpf_sock_ops *, u32 *, u64);                                                    \
    int (*delete)(u32 *);                                                                                         \
    int (*msg_redirect_map)(struct sk_msg_md *, u32, u64);                                                        \
    int (*sk_redirect_map)(struct __sk_buff *, u32, u64);                                                         \
  } name __attribute__((unused)) = {skep_##name##_update, skep_##name##_delete, skep_##name##_msg,                \
                                    skep_##name##_skb}
#define SKEP_SOCKHASH_3(name, key_type, entries)                                                                  \
  SKEP_SOCKETS(name, 18, hash, key_type, entries)                                                                 \
  SKEP_METHOD int skep_##name##_msg(struct sk_msg_md *message, __typeof__(key_type) *key, u64 flags) {            \
    return bpf_msg_redirect_hash(message, &skep_map_##name, key, flags);                                          \
  }                                                                                                               \
  SKEP_METHOD int skep_##name##_skb(struct __sk_buff *skb, __typeof__(key_type) *key, u64 flags) {                \
    return bpf_sk_redirect_hash(skb, &skep_map_##name, key, flags);                                               \
  }                                                                                                               \
  static const struct {                                                                                           \
    int (*sock_hash_update)(struct bpf_sock_ops *, __typeof__(key_type) *, u64);                                  \
    int (*delete)(__typeof__(key_type) *);                                                                        \
    int (*msg_redirect_hash)(struct sk_msg_md *, __typeof__(key_type) *, u64);                                    \
    int (*sk_redirect_hash)(struct __sk_buff *, __typeof__(key_type) *, u64);                                     \
  } name __attribute__((unused)) = {skep_##name##_update, skep_##name##_delete, skep_##name##_msg,                \
                                    skep_##name##_skb}
#define SKEP_SOCKHASH_1(name) SKEP_SOCKHASH_3(name, u32, 10240)
#define SKEP_SOCKHASH_2(name, key_type) SKEP_SOCKHASH_3(name, key_type, 10240)
#define SKEP_SOCKHASH_4(name, key_type, value_type, entries) SKEP_SOCKHASH_3(name, key_type, entries)
#define BPF_SOCKHASH(...) SKEP_PICK(SKEP_SOCKHASH_, ##__VA_ARGS__)(__VA_ARGS__)

/* ---- storage beside a socket, an inode, a task ---------------------------------------------------------------- */

#define SKEP_STORAGE(name, map_type, kind, owner_type, value_type)                                                \
  SKEP_KEY_VALUE_MAP(name, map_type, int, value_type, 0, BPF_F_NO_PREALLOC);                                      \
  SKEP_METHOD value_type *skep_##name##_get(owner_type *owner, value_type *initial, u64 flags) {                  \
    return bpf_##kind##_storage_get(&skep_map_##name, owner, initial, flags);                                     \
  }                                                                                                               \
  SKEP_METHOD int skep_##name##_delete(owner_type *owner) {                                                       \
    return bpf_##kind##_storage_delete(&skep_map_##name, owner);                                                  \
  }                                                                                                               \
  static const struct {                                                                                           \
    value_type *(*kind##_storage_get)(owner_type *, value_type *, u64);                                           \
    int (*kind##_storage_delete)(owner_type *);                                                                   \
  } name __attribute__((unused)) = {skep_##name##_get, skep_##name##_delete}
#define BPF_SK_STORAGE(name, value_type) SKEP_STORAGE(name, 24, sk, void, value_type)
#define BPF_INODE_STORAGE(name, value_type) SKEP_STORAGE(name, 28, inode, void, value_type)
/* Beside a control group: the group is the one that the program is attached to. */
#define SKEP_CGROUP_STORAGE(name, map_type, value_type)                                                           \
  SKEP_KEY_VALUE_MAP(name, map_type, struct bpf_cgroup_storage_key, value_type, 0, 0);                            \
  SKEP_METHOD value_type *skep_##name##_get(u64 flags) {                                                          \
    return bpf_get_local_storage(&skep_map_##name, flags);                                                        \
  }                                                                                                               \
  static const struct {                                                                                           \
    value_type *(*get_local_storage)(u64);                                                                        \
  } name __attribute__((unused)) = {skep_##name##_get}
#define BPF_CGROUP_STORAGE(name, value_type) SKEP_CGROUP_STORAGE(name, 19, value_type)
#define BPF_PERCPU_CGROUP_STORAGE(name, value_type) SKEP_CGROUP_STORAGE(name, 21, value_type)
#define BPF_TASK_STORAGE(name, value_type) SKEP_STORAGE(name, 29, task, struct task_struct, value_type)

/* ---- maps of maps: the inner map is the pattern. It is named by a string, which only skep can unquote: it -- */
/* ---- defines SKEP_INNER_OF_NAME in front of the source.  ---------------------------------------------------- */

#define SKEP_MAP_OF_MAPS(name, map_type, key_type, entries)                                              \
  struct {                                                                                               \
    SKEP_NUMBER(type, map_type);                                                                         \
    __typeof__(key_type) *key;                                                                           \
    u32 *value;                                                                                          \
    SKEP_NUMBER(max_entries, entries);                                                                   \
    __typeof__(SKEP_JOIN(SKEP_INNER_OF_, name)) *values[];                                               \
  } skep_map_##name SKEP_MAP_ATTRIBUTES;                                                                 \
  SKEP_METHOD void *skep_##name##_lookup(__typeof__(key_type) *key) {                                    \
    return bpf_map_lookup_elem(&skep_map_##name, key);                                                   \
  }                                                                                                      \
  static const struct {                                                                                  \
    void *(*lookup)(__typeof__(key_type) *);                                                             \
  } name __attribute__((unused)) = {skep_##name##_lookup}
#define BPF_ARRAY_OF_MAPS(name, inner, entries) SKEP_MAP_OF_MAPS(name, 12, int, entries)
#define SKEP_HASH_OF_MAPS_3(name, inner, entries) SKEP_MAP_OF_MAPS(name, 13, int, entries)
#define SKEP_HASH_OF_MAPS_4(name, key_type, inner, entries) SKEP_MAP_OF_MAPS(name, 13, key_type, entries)
#define BPF_HASH_OF_MAPS(...) SKEP_PICK(SKEP_HASH_OF_MAPS_, ##__VA_ARGS__)(__VA_ARGS__)

/* ---- queue and stack ---------------------------------------------------------------------------------- */

#define SKEP_QUEUE(name, map_type, value_type, entries, creation)                                                 \
  struct {                                                                                              \
    SKEP_NUMBER(type, map_type);                                                                        \
    __typeof__(value_type) *value;                                                                      \
    SKEP_NUMBER(max_entries, entries);                                                                  \
    SKEP_NUMBER(map_flags, creation);                                                                   \
  } skep_map_##name SKEP_MAP_ATTRIBUTES;                                                                \
  SKEP_METHOD int skep_##name##_push(__typeof__(value_type) *value, u64 flags) {                        \
    return bpf_map_push_elem(&skep_map_##name, value, flags);                                           \
  }                                                                                                     \
  SKEP_METHOD int skep_##name##_pop(__typeof__(value_type) *value) {                                    \
    return bpf_map_pop_elem(&skep_map_##name, value);                                                   \
  }                                                                                                     \
  SKEP_METHOD int skep_##name##_peek(__typeof__(value_type) *value) {                                   \
    return bpf_map_peek_elem(&skep_map_##name, value);                                                  \
  }                                                                                                     \
  static const struct {                                                                                 \
    int (*push)(__typeof__(value_type) *, u64);                                                         \
    int (*pop)(__typeof__(value_type) *);                                                               \
    int (*peek)(__typeof__(value_type) *);                                                              \
  } name __attribute__((unused)) = {skep_##name##_push, skep_##name##_pop, skep_##name##_peek}
#define SKEP_QUEUE_3(name, value_type, entries) SKEP_QUEUE(name, 22, value_type, entries, 0)
#define SKEP_QUEUE_4(name, value_type, entries, flags) SKEP_QUEUE(name, 22, value_type, entries, flags)
#define BPF_QUEUE(...) SKEP_PICK(SKEP_QUEUE_, ##__VA_ARGS__)(__VA_ARGS__)
#define SKEP_STACK_3(name, value_type, entries) SKEP_QUEUE(name, 23, value_type, entries, 0)
#define SKEP_STACK_4(name, value_type, entries, flags) SKEP_QUEUE(name, 23, value_type, entries, flags)
#define BPF_STACK(...) SKEP_PICK(SKEP_STACK_, ##__VA_ARGS__)(__VA_ARGS__)
#define BPF_QUEUESTACK(kind, name, value_type, entries, flags) \
  SKEP_QUEUE(name, (SKEP_IS(kind, "queue") ? 22 : SKEP_IS(kind, "stack") ? 23 : -1), value_type, entries, flags)

/* ---- output ------------------------------------------------------------------------------------------- */

#define BPF_PERF_OUTPUT(name)                                                                             \
  struct {                                                                                                \
    SKEP_NUMBER(type, 4);                                                                                 \
    SKEP_NUMBER(key_size, 4);                                                                             \
    SKEP_NUMBER(value_size, 4);                                                                           \
  } skep_map_##name SKEP_MAP_ATTRIBUTES;                                                                  \
  SKEP_METHOD int skep_##name##_perf_submit(void *context, void *data, u32 size) {                        \
    return bpf_perf_event_output(context, &skep_map_##name, BPF_F_CURRENT_CPU, data, size);               \
  }                                                                                                       \
  SKEP_METHOD int skep_##name##_perf_submit_skb(void *skb, u32 length, void *data, u32 size) {            \
    return bpf_perf_event_output(skb, &skep_map_##name, (u64)length << 32 | BPF_F_CURRENT_CPU, data, size); \
  }                                                                                                       \
  static const struct {                                                                                   \
    int (*perf_submit)(void *, void *, u32);                                                              \
    int (*perf_submit_skb)(void *, u32, void *, u32);                                                     \
  } name __attribute__((unused)) = {skep_##name##_perf_submit, skep_##name##_perf_submit_skb}

/* The size is in pages of 4096 bytes, as in BCC. */
#define BPF_RINGBUF_OUTPUT(name, pages)                                                                   \
  struct {                                                                                                \
    SKEP_NUMBER(type, 27);                                                                                \
    SKEP_NUMBER(max_entries, (pages) * 4096);                                                             \
  } skep_map_##name SKEP_MAP_ATTRIBUTES;                                                                  \
  SKEP_METHOD int skep_##name##_output(void *data, u64 size, u64 flags) {                                 \
    return bpf_ringbuf_output(&skep_map_##name, data, size, flags);                                       \
  }                                                                                                       \
  SKEP_METHOD void *skep_##name##_reserve(u64 size) {                                                     \
    return bpf_ringbuf_reserve(&skep_map_##name, size, 0);                                                \
  }                                                                                                       \
  SKEP_METHOD void skep_##name##_submit(void *data, u64 flags) { bpf_ringbuf_submit(data, flags); }       \
  SKEP_METHOD void skep_##name##_discard(void *data, u64 flags) { bpf_ringbuf_discard(data, flags); }     \
  SKEP_METHOD u64 skep_##name##_query(u64 flags) { return bpf_ringbuf_query(&skep_map_##name, flags); }   \
  static const struct {                                                                                   \
    int (*ringbuf_output)(void *, u64, u64);                                                              \
    void *(*ringbuf_reserve)(u64);                                                                        \
    void (*ringbuf_submit)(void *, u64);                                                                  \
    void (*ringbuf_discard)(void *, u64);                                                                 \
    u64 (*ringbuf_query)(u64);                                                                            \
  } name __attribute__((unused)) = {skep_##name##_output, skep_##name##_reserve, skep_##name##_submit,    \
                                    skep_##name##_discard, skep_##name##_query}

#endif
