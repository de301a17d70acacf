/* Bits set in 64 words by adding neighbours: wide constants that should stay in registers. */
#include "bench.h"

PROGRAM(context) {
  u64 sum = 0;
  for (int i = 0; i < random_words; i++) {
    u64 v = input[i];
    v -= v >> 1 & 0x5555555555555555ull;
    v = (v & 0x3333333333333333ull) + (v >> 2 & 0x3333333333333333ull);
    v = (v + (v >> 4)) & 0x0f0f0f0f0f0f0f0full;
    sum += v * 0x0101010101010101ull >> 56;
  }
  return fold(sum);
}
