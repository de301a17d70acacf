/* Strings byte by byte: lower case, a comparison, the last of a character, in 256 bytes. */
#include "bench.h"

static inline u8 lower(u8 c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; }

PROGRAM(context) {
  const u8 *left = (const u8 *)(input + 1), *right = left + 256;
  const u64 salt = fresh();
  u32 same = 0, hash = 5381, last = 0;
  for (u32 i = 0; i < 256; i++) {
    const u8 c = lower((left[i] ^ (u8)(salt >> (i & 31))) & 127), d = lower(right[i] & 127);
    if (c == d) same++;
    if (c == 'e') last = i;
    hash = hash * 33 + c;
  }
  return hash ^ same << 24 ^ last << 16;
}
