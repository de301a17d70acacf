/*
 * The native side of bench.h: the packet as two pointers, and the plainest maps that do the job (one thread,
 * no locks, nothing deleted), so that a ratio to native says what sharing and safety cost.
 */
#pragma once
struct context {
  u8 *data, *data_end;
};
#define EXPORT __attribute__((visibility("default")))
#define PROGRAM(context_) EXPORT int program(struct context *context_)
#define SUBPROGRAM static
#define PACKET(context) ((context)->data)
#define PACKET_END(context) ((context)->data_end)

static u64 input[input_words];
EXPORT u64 *program_input(void) { return input; }

#define ARRAY(name, type, count)            \
  static type name##_values[count];         \
  static inline type *name##_lookup(const u32 *key) { return *key < (count) ? &name##_values[*key] : 0; }

/* Open addressing in twice the room; keys are whole words. */
#define HASH(name, key_type, type, count)                                                       \
  static struct { key_type key; type value; int used; } name##_slots[2 * (count)];             \
  static inline u32 name##_find(const key_type *key) {                                         \
    const u32 *words = (const u32 *)key;                                                        \
    u32 hash = 0;                                                                               \
    for (u32 i = 0; i < sizeof(key_type) / 4; i++) hash = (hash ^ words[i]) * 0x9e3779b1u;      \
    u32 at = (hash ^ hash >> 15) & (2 * (count) - 1);                                          \
    while (name##_slots[at].used && __builtin_memcmp(&name##_slots[at].key, key, sizeof *key))  \
      at = (at + 1) & (2 * (count) - 1);                                                       \
    return at;                                                                                  \
  }                                                                                             \
  static inline type *name##_lookup(const key_type *key) {                                      \
    u32 at = name##_find(key);                                                                  \
    return name##_slots[at].used ? &name##_slots[at].value : 0;                                 \
  }                                                                                             \
  static inline int name##_update(const key_type *key, const type *value) {                     \
    u32 at = name##_find(key);                                                                  \
    name##_slots[at].key = *key;                                                                \
    name##_slots[at].value = *value;                                                            \
    name##_slots[at].used = 1;                                                                  \
    return 0;                                                                                   \
  }
/* One CPU, and nothing is ever thrown out. */
#define PERCPU_ARRAY ARRAY
#define LRU_HASH HASH
#define LOOKUP(name, key) name##_lookup(key)
#define UPDATE(name, key, value) name##_update(key, value)
