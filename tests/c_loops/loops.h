// What the programs of this folder have in common: one map value to work on, and their names.
//
// ENDS(name) { ... } is a program that ends on every input and stays inside its memory; NOT(name) is one that runs for
// ever, or out of bounds, on some input; OPEN(name) is safe, and nobody here can prove it yet. The body gets the map's
// value as `d`, and what it gives is stored in it.
#pragma once
#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s64 s64;

struct data {
  u32 n, key;
  u64 a, b;
  u32 words[256];
  u64 longs[256];
  u8 bytes[1024], out[1024];
  struct {
    u32 key, next;
  } nodes[128];
  u32 edges[64][4];
  u8 seen[64];
  u16 queue[64];
  u32 result, unused;
  union {  // behind these, memory ends
    u32 last[64];
    struct {
      u8 before[192], tail[64];
    };
  };
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, struct data);
} store SEC(".maps");

#define LOOP(name)                                            \
  static __always_inline long body_of_##name(struct data* d); \
  SEC("raw_tp/sys_enter") int name(void* ctx) {               \
    u32 zero = 0;                                             \
    struct data* d = bpf_map_lookup_elem(&store, &zero);      \
    if (d) d->result = body_of_##name(d);                     \
    return 0;                                                 \
  }                                                           \
  static __always_inline long body_of_##name(struct data* d)
#define ENDS(name) LOOP(ends_##name)
#define NOT(name) LOOP(not_##name)
#define OPEN(name) LOOP(open_##name)

char LICENSE[] SEC("license") = "GPL";
