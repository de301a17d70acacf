/* 128 look-ups in an array map of 256 entries, each written and read. */
#include "bench.h"

ARRAY(table, u64, 256);

PROGRAM(context) {
  const u8 *bytes = (const u8 *)input;
  u64 sum = 0;
  for (int i = 0; i < 128; i++) {
    const u32 key = bytes[i];
    u64 *value = LOOKUP(table, &key);
    if (!value) return 0;
    *value = *value * 3 + key;
    sum += *value & 1;
    *value = key;
  }
  return fold(sum);
}
