/* bpf_loop: 64 calls of a callback, against a plain loop natively. Since Linux 5.17. */
#include "bench.h"

struct state {
  u64 sum;
};

static long add(u32 i, struct state *state) {
  state->sum = state->sum * 31 + input[i & (input_words - 1)];
  return 0;
}

PROGRAM(context) {
  struct state state = {1};
#ifdef __bpf__
  bpf_loop(64, add, &state, 0);
#else
  for (u32 i = 0; i < 64; i++) add(i, &state);
#endif
  return fold(state.sum);
}
