/* Binary search of 24 keys among 64 sorted words: six unpredictable choices a key. */
#include "bench.h"

PROGRAM(context) {
  const u64 *table = input + random_words;
  const u64 salt = fresh();
  u64 sum = 0;
  for (int i = 1; i < 25; i++) {
    const u64 key = input[i] ^ salt;
    u32 low = 0;
    for (u32 half = sorted_words / 2; half != 0; half /= 2)
      if (table[(low + half) & (sorted_words - 1)] <= key) low += half;
    sum = sum * 31 + low;
  }
  return fold(sum);
}
