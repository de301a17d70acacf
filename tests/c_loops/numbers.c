#include "loops.h"

ENDS(gcd64) {
  u64 a = d->a, b = d->b;
  while (b) {
    u64 t = a % b;
    a = b;
    b = t;
  }
  return a;
}

ENDS(gcd32) {
  u32 a = d->n, b = d->key;
  while (b) {
    u32 t = a % b;
    a = b;
    b = t;
  }
  return a;
}

ENDS(gcd_steps) {
  u32 a = d->n, b = d->key;
  for (int i = 0; i < 100 && b; i++) {
    u32 t = a % b;
    a = b;
    b = t;
  }
  return a;
}

ENDS(digits) {
  u64 v = d->a;
  u32 n = 0;
  do {
    d->out[n & 31] = '0' + v % 10;
    v /= 10;
    n++;
  } while (v);
  return n;
}

ENDS(digits_stack) {
  char b[24];
  u64 v = d->a;
  int i = sizeof(b);
  while (v && i > 0) {
    b[--i] = '0' + v % 10;
    v /= 10;
  }
  return i < 24 ? b[i < 0 ? 0 : i] : 0;
}

ENDS(ones) {
  u64 v = d->a;
  u32 n = 0;
  while (v) {
    v &= v - 1;
    n++;
  }
  return n;
}

ENDS(ones_by_shifting) {
  u64 v = d->a;
  u32 n = 0;
  while (v) {
    n += v & 1;
    v >>= 1;
  }
  return n;
}

ENDS(ones_of_all) {
  u32 n = 0;
  for (u32 i = 0; i < 256; i++) {
    u64 v = d->longs[i];
    while (v) {
      v &= v - 1;
      n++;
    }
  }
  return n;
}

ENDS(isqrt) {
  u64 v = d->a, r = 0, bit = 1ull << 62;
  while (bit > v) bit >>= 2;
  while (bit) {
    if (v >= r + bit) {
      v -= r + bit;
      r = (r >> 1) + bit;
    } else
      r >>= 1;
    bit >>= 2;
  }
  return r;
}

ENDS(newton) {
  u64 v = d->a, x = v, y = (x + 1) / 2;
  int n = 0;
  while (y < x && n < 64) {
    x = y;
    if (!x) break;
    y = (x + v / x) / 2;
    n++;
  }
  return x;
}

ENDS(collatz) {
  u64 v = d->a;
  u32 n = 0;
  while (v > 1 && n < 10000) {
    v = v & 1 ? 3 * v + 1 : v / 2;
    n++;
  }
  return n;
}

ENDS(crc32) {
  u32 c = ~0u, n = d->n;
  if (n > 1024) n = 1024;
  for (u32 i = 0; i < n; i++) {
    c ^= d->bytes[i];
    for (int k = 0; k < 8; k++) c = c & 1 ? c >> 1 ^ 0xedb88320 : c >> 1;
  }
  return ~c;
}

ENDS(bit_reverse) {
  u64 v = d->a, r = 0;
  int n = 64;
  while (n--) {
    r = r << 1 | (v & 1);
    v >>= 1;
  }
  return r;
}

ENDS(power) {
  u64 b = d->a, r = 1;
  u32 e = d->n;
  while (e) {
    if (e & 1) r *= b;
    b *= b;
    e >>= 1;
  }
  return r;
}

ENDS(fibonacci) {
  u64 a = 0, b = 1;
  u32 n = d->n;
  if (n > 5000) n = 5000;
  while (n--) {
    u64 t = a + b;
    a = b;
    b = t;
  }
  return a;
}

ENDS(logarithm) {
  u64 v = d->a;
  u32 r = 0;
  while (v >>= 1) r++;
  return r;
}

// Nearly the same, and not one of them is safe on every input.

NOT(gcd_of_one) {
  while (d->b) {
    u64 t = d->a % d->b;
    d->a = d->b;
    d->b = t + (d->n & 1);
  }
  return 0;
}

NOT(gcd_by_subtraction) {
  u64 a = d->a, b = d->b;
  while (a != b) {
    if (a > b)
      a -= b;
    else
      b -= a;
    d->result++;
  }
  return a;
}

NOT(gcd_of_the_same) {
  u64 a = d->a;
  while (d->b) {
    a %= d->b;
    d->longs[0] = a;
  }
  return a;
}

NOT(digits_of_base) {
  u64 v = d->a;
  u32 n = 0, base = d->n;
  do {
    d->out[n & 31] = v % 10;
    v /= base;
    n++;
  } while (v);
  return n;
}

NOT(digits_past_the_end) {
  u64 v = d->a;
  u32 n = 0;
  do {
    d->tail[60 + n] = '0' + v % 10;
    v /= 10;
    n++;
  } while (v && n < 20);
  return n;
}

NOT(ones_less_two) {
  u64 v = d->a;
  u32 n = 0;
  while (v) {
    v &= v - 2;
    n++;
    d->result++;
  }
  return n;
}

NOT(ones_of_signed) {
  s64 v = d->a;
  u32 n = 0;
  while (v) {
    n += v & 1;
    v >>= 1;
    d->result++;
  }
  return n;
}

NOT(ones_by_data) {
  u64 v = d->a;
  u32 n = 0, by = d->n & 3;
  while (v) {
    n += v & 1;
    v >>= by;
    d->result++;
  }
  return n;
}

NOT(logarithm_rounded_up) {
  u64 v = d->a;
  u32 r = 0;
  while (v) {
    v = (v >> 1) + (v & 1);
    r++;
    d->result++;
  }
  return r;
}

NOT(newton_without_steps) {
  u64 v = d->a, x = v | 1;
  while (x * x != v) {
    x = (x + v / x) >> 1;
    if (!x) break;
    d->result++;
  }
  return x;
}

NOT(collatz_without_steps) {
  u64 v = d->a;
  u32 n = 0;
  while (v > 1) {
    v = v & 1 ? 3 * v + 1 : v / 2;
    n++;
    d->result++;
  }
  return n;
}

NOT(power_by_data) {
  u64 b = d->a, r = 1;
  u32 e = d->n;
  while (e) {
    r *= b;
    e >>= e & 1;
    d->result++;
  }
  return r;
}

NOT(fibonacci_of_anything) {
  u64 a = 0, b = 1, n = d->a;
  while (n--) {
    u64 t = a + b;
    a = b;
    b = t;
    d->result++;
  }
  return a;
}

NOT(bits_past_zero) {
  u64 v = d->a, r = 0;
  u32 n = 63;
  while (n != 64) {
    r = r << 1 | (v & 1);
    v >>= 1;
    n -= 2;
    d->result++;
  }
  return r;
}

NOT(counter_set_back) {
  u32 n = 0;
  for (u32 i = 0; i < 100; i++) {
    if (d->bytes[i] == 7) i = 0;
    n++;
    d->result++;
  }
  return n;
}

NOT(counters_against) {
  u32 i = 0, j = 0;
  while (i < 100 && j < 100) {
    if (d->words[(i + d->result) & 255] & 1)
      i++, j--;
    else
      i--, j++;
    d->result++;
    if (i > 200 || j > 200) i = j = 50;
  }
  return i;
}

NOT(exchanged_for_ever) {
  u32 a = d->n, b = d->key;
  while (a != b) {
    u32 t = a;
    a = b;
    b = t;
    d->result++;
  }
  return a;
}
