/* An 8 by 8 product of 32-bit matrices: two-dimensional addressing. */
#include "bench.h"

PROGRAM(context) {
  const u32 *a = (const u32 *)input, *b = a + 64;
  u32 sum = 0;
  for (int row = 0; row < 8; row++)
    for (int column = 0; column < 8; column++) {
      u32 dot = 0;
      for (int i = 0; i < 8; i++) dot += a[row * 8 + i] * b[i * 8 + column];
      sum = (sum ^ dot) * 17;
    }
  return sum;
}
