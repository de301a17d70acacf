/* FNV-1a of 448 bytes: a serial chain of multiplications with nothing to win but the loop around it. */
#include "bench.h"

PROGRAM(context) {
  const u8 *bytes = (const u8 *)input;
  u64 hash = 0xcbf29ce484222325ull;
  for (int i = 0; i < 448; i++) hash = (hash ^ bytes[i]) * 0x100000001b3ull;
  return fold(hash);
}
