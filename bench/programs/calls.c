/* Small subprograms, called 96 times: what a call between BPF functions costs. */
#include "bench.h"

SUBPROGRAM u64 mix(u64 a, u64 b) {
  a = (a ^ b) * 0x9e3779b97f4a7c15ull;
  a = rotate64(a, 23) * 0xbf58476d1ce4e5b9ull;
  return a ^ a >> 31;
}
SUBPROGRAM u64 spread(u64 a, u32 n) {
  a ^= a >> (n & 31);
  a *= 0x94d049bb133111ebull;
  return a + rotate64(a, 17);
}
SUBPROGRAM u64 step(u64 state, u64 word, u32 n) { return spread(mix(state, word), n + 7); }

PROGRAM(context) {
  u64 state = 1;
  for (u32 i = 0; i < 32; i++) state = step(state, input[i], i);
  return fold(state);
}
