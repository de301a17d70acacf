/* Integer logarithms by halving, of 64 words of every size: short unpredictable branches. */
#include "bench.h"

PROGRAM(context) {
  const u64 salt = fresh();
  u64 sum = 0;
  for (int i = 0; i < random_words; i++) {
    u64 v = (input[i] ^ salt) >> (i & 63);
    u32 r = 0;
    if (v > 0xffffffffull) v >>= 32, r += 32;
    if (v > 0xffff) v >>= 16, r += 16;
    if (v > 0xff) v >>= 8, r += 8;
    if (v > 0xf) v >>= 4, r += 4;
    if (v > 3) v >>= 2, r += 2;
    sum = sum * 31 + r + (v >> 1);
  }
  return fold(sum);
}
