/* SipHash-2-4 of 256 bytes: 64-bit additions, rotations, xors. Source: Aumasson and Bernstein, "SipHash" (2012). */
#include "bench.h"

#define ROUND                                                            \
  a += b, b = rotate64(b, 13), b ^= a, a = rotate64(a, 32);              \
  c += d, d = rotate64(d, 16), d ^= c;                                   \
  a += d, d = rotate64(d, 21), d ^= a;                                   \
  c += b, b = rotate64(b, 17), b ^= c, c = rotate64(c, 32)

PROGRAM(context) {
  u64 a = 0x736f6d6570736575ull, b = 0x646f72616e646f6dull, c = 0x6c7967656e657261ull, d = 0x7465646279746573ull;
  for (int i = 0; i < 32; i++) {
    d ^= input[i];
    ROUND;
    ROUND;
    a ^= input[i];
  }
  c ^= 0xff;
  ROUND;
  ROUND;
  ROUND;
  ROUND;
  return fold(a ^ b ^ c ^ d);
}
