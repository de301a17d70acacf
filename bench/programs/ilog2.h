/* Sum of the integer logarithms of 21 words by halving, rotated 16 times: short unpredictable branches. */
static unsigned long long ilog2(const unsigned long long *words) {
  unsigned long long sum = 0;
  for (int round = 0; round < 16; round++)
    for (int i = 0; i < 21; i++) {
      unsigned long long v = words[i] >> round, r = 0;
      if (v > 0xffffffffull) { v >>= 32; r += 32; }
      if (v > 0xffff) { v >>= 16; r += 16; }
      if (v > 0xff) { v >>= 8; r += 8; }
      if (v > 0xf) { v >>= 4; r += 4; }
      if (v > 3) { v >>= 2; r += 2; }
      sum = sum * 31 + r + (v >> 1);
    }
  return sum;
}
