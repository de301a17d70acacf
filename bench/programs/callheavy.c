/* A chain of seven subprograms with five arguments each, entered eight times: frames, argument moves, saved registers. */
#include "bench.h"

SUBPROGRAM u64 leaf(u64 a, u64 b, u64 c, u64 d, u64 e) { return ((a ^ b) + (c ^ d)) * 0x9e3779b97f4a7c15ull ^ e; }
SUBPROGRAM u64 sixth(u64 a, u64 b, u64 c, u64 d, u64 e) { return leaf(b, c, d, e, a) + leaf(a ^ e, b, c, d, e); }
SUBPROGRAM u64 fifth(u64 a, u64 b, u64 c, u64 d, u64 e) { return sixth(b + 1, c, d, e, a) ^ a; }
SUBPROGRAM u64 fourth(u64 a, u64 b, u64 c, u64 d, u64 e) { return fifth(b, c + 1, d, e, a) + e; }
SUBPROGRAM u64 third(u64 a, u64 b, u64 c, u64 d, u64 e) { return fourth(b, c, d + 1, e, a) ^ (b >> 7); }
SUBPROGRAM u64 second(u64 a, u64 b, u64 c, u64 d, u64 e) { return third(b, c, d, e + 1, a) + (d << 3); }
SUBPROGRAM u64 first(u64 a, u64 b, u64 c, u64 d, u64 e) { return second(b, c, d, e, a + 1) ^ c; }

PROGRAM(context) {
  u64 sum = 0;
  for (int i = 0; i < 8; i++) sum += first(input[i], input[i + 8], input[i + 16], input[i + 24], sum);
  return fold(sum);
}
