/* Eight sorting networks of eight elements, nineteen exchanges each: smaller and larger of two, without branches. */
#include "bench.h"

#define EXCHANGE(x, y)             \
  do {                             \
    const u32 p = x, q = y;        \
    x = p < q ? p : q;             \
    y = p < q ? q : p;             \
  } while (0)

PROGRAM(context) {
  const u32 *words = (const u32 *)input;
  u32 sum = 0;
  for (int i = 0; i < 8; i++, words += 8) {
    u32 a = words[0], b = words[1], c = words[2], d = words[3], e = words[4], f = words[5], g = words[6], h = words[7];
    EXCHANGE(a, b); EXCHANGE(c, d); EXCHANGE(e, f); EXCHANGE(g, h);
    EXCHANGE(a, c); EXCHANGE(b, d); EXCHANGE(e, g); EXCHANGE(f, h);
    EXCHANGE(b, c); EXCHANGE(f, g); EXCHANGE(a, e); EXCHANGE(d, h);
    EXCHANGE(b, f); EXCHANGE(c, g);
    EXCHANGE(b, e); EXCHANGE(d, g);
    EXCHANGE(c, e); EXCHANGE(d, f);
    EXCHANGE(d, e);
    sum = sum * 31 + (a ^ b << 1 ^ c << 2 ^ d << 3 ^ e << 4 ^ f << 5 ^ g << 6 ^ h << 7);
  }
  return sum;
}
