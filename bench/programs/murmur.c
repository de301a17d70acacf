/* MurmurHash3 (32 bits) of 1 KiB: 32-bit multiplications and rotations. Source: the algorithm is public domain. */
#include "bench.h"

PROGRAM(context) {
  const u32 *words = (const u32 *)input;
  u32 hash = 0x12345678;
  for (int i = 0; i < input_words * 2; i++) {
    u32 k = words[i] * 0xcc9e2d51u;
    k = rotate32(k, 15) * 0x1b873593u;
    hash = rotate32(hash ^ k, 13) * 5 + 0xe6546b64u;
  }
  hash ^= input_words * 8;
  hash = (hash ^ hash >> 16) * 0x85ebca6bu;
  hash = (hash ^ hash >> 13) * 0xc2b2ae35u;
  return hash ^ hash >> 16;
}
