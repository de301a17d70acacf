/*
 * What every program of the set shares: one C source, compiled to eBPF by clang and natively by the host's
 * compiler, with the same memory and the same meaning.
 *
 * A program is a tc classifier: it returns 32 bits and may look at the packet (sixteen frames of 64 bytes, one behind
 * the other) and at `input`: 64 random words, then 64 words in ascending order. In eBPF `input` is the map
 * `.bss`; natively an array the compiler knows as little about. SUBPROGRAM is a real call in eBPF, which the
 * native compiler may inline. Programs whose branches are the point take a fresh() number, so that no run repeats the
 * one before and branch predictors learn nothing; every engine sees the same sequence of runs.
 */
#pragma once
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

enum { input_words = 128, random_words = 64, sorted_words = 64, frame_bytes = 64, frames = 16 };

#ifdef __bpf__
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define PROGRAM(context) SEC("tc") int program(struct __sk_buff *context)
#define SUBPROGRAM static __attribute__((noinline))
#define PACKET(context) ((u8 *)(long)(context)->data)
#define PACKET_END(context) ((u8 *)(long)(context)->data_end)
#define MAP(kind, name, key_, type_, count) \
  struct { __uint(type, BPF_MAP_TYPE_##kind); __uint(max_entries, count); __type(key, key_); __type(value, type_); } name SEC(".maps")
#define ARRAY(name, type, count) MAP(ARRAY, name, u32, type, count)
#define PERCPU_ARRAY(name, type, count) MAP(PERCPU_ARRAY, name, u32, type, count)
#define HASH(name, key, type, count) MAP(HASH, name, key, type, count)
#define LRU_HASH(name, key, type, count) MAP(LRU_HASH, name, key, type, count)
#define LOOKUP(name, key) bpf_map_lookup_elem(&name, key)
#define UPDATE(name, key, value) bpf_map_update_elem(&name, key, value, BPF_ANY)
u64 input[input_words];
char LICENSE[] SEC("license") = "GPL";
#else
#include "native.h"
#endif

/* Rotations as the C idiom that every compiler knows. */
static inline u32 rotate32(u32 x, u32 n) { return x << n | x >> (32 - n); }
static inline u64 rotate64(u64 x, u32 n) { return x << n | x >> (64 - n); }
/* The next number of a sequence that lives in the first word of `input`. */
static inline u64 fresh(void) {
  input[0] = input[0] * 6364136223846793005ull + 1442695040888963407ull;
  return input[0] ^ input[0] >> 29;
}
/* A 64-bit result as the 32 bits that every engine hands out. */
static inline u32 fold(u64 x) { return (u32)(x ^ x >> 32); }
