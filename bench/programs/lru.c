/* A cache: 64 look-ups of sixteen 64-bit keys in an LRU map of 1024 entries; what is missing is added. */
#include "bench.h"

LRU_HASH(cache, u64, u64, 1024);

PROGRAM(context) {
  u64 sum = 0;
  for (int i = 0; i < 64; i++) {
    const u64 key = input[i & 15];
    const u64 *known = LOOKUP(cache, &key);
    if (known) {
      sum = sum * 31 + *known;
    } else {
      const u64 fresh = key >> 7;
      UPDATE(cache, &key, &fresh);
      sum = sum * 31 + fresh;
    }
  }
  return fold(sum);
}
