/* 64 operations on a hash map of 1024 entries: 16 updates, 48 look-ups that find what the updates left. */
#include "bench.h"

HASH(table, u32, u64, 1024);

PROGRAM(context) {
  u64 sum = 0;
  for (int i = 0; i < 16; i++) {
    const u32 key = (u32)input[i];
    u64 value = input[i] >> 32;
    UPDATE(table, &key, &value);
  }
  for (int i = 0; i < 48; i++) {
    const u32 key = (u32)input[i & 15];
    const u64 *value = LOOKUP(table, &key);
    if (value) sum = sum * 31 + *value;
  }
  return fold(sum);
}
