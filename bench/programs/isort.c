/* Insertion sort of 32 words on the stack: a loop whose length depends on data. */
#include "bench.h"

PROGRAM(context) {
  const u32 *words = (const u32 *)input;
  const u32 salt = (u32)fresh();
  u32 sorted[32], sum = 0;
  for (u32 i = 0; i < 32; i++) sorted[i] = words[i + 2] ^ salt;
  for (u32 i = 1; i < 32; i++) {
    const u32 value = sorted[i];
    u32 at = i;
    while (at > 0 && at < 32 && sorted[at - 1] > value) {
      sorted[at] = sorted[at - 1];
      at--;
    }
    if (at < 32) sorted[at] = value;
  }
  for (u32 i = 0; i < 32; i++) sum = sum * 31 + sorted[i];
  return sum;
}
