/* One ChaCha20 block: rotations, and sixteen words that want to be in registers. Source: RFC 8439, section 2.3. */
#include "bench.h"

#define QUARTER(a, b, c, d)               \
  a += b, d = rotate32(d ^ a, 16);        \
  c += d, b = rotate32(b ^ c, 12);        \
  a += b, d = rotate32(d ^ a, 8);         \
  c += d, b = rotate32(b ^ c, 7)

PROGRAM(context) {
  const u32 *key = (const u32 *)input;
  u32 x[16], sum = 0;
  for (int i = 0; i < 16; i++) x[i] = key[i];
  for (int round = 0; round < 10; round++) {
    QUARTER(x[0], x[4], x[8], x[12]);
    QUARTER(x[1], x[5], x[9], x[13]);
    QUARTER(x[2], x[6], x[10], x[14]);
    QUARTER(x[3], x[7], x[11], x[15]);
    QUARTER(x[0], x[5], x[10], x[15]);
    QUARTER(x[1], x[6], x[11], x[12]);
    QUARTER(x[2], x[7], x[8], x[13]);
    QUARTER(x[3], x[4], x[9], x[14]);
  }
  for (int i = 0; i < 16; i++) sum = rotate32(sum, 5) ^ (x[i] + key[i]);
  return sum;
}
