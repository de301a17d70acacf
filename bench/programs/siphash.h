/* SipHash-like rounds over 21 words, 16 times: 64-bit adds, rotates and xors. */
#define ROTATE(x, n) (((x) << (n)) | ((x) >> (64 - (n))))
static unsigned long long siphash(const unsigned long long *words) {
  unsigned long long a = 0x736f6d6570736575ull, b = 0x646f72616e646f6dull, c = 0x6c7967656e657261ull, d = 0x7465646279746573ull;
  for (int round = 0; round < 16; round++)
    for (int i = 0; i < 21; i++) {
      d ^= words[i];
      a += b; b = ROTATE(b, 13); b ^= a; a = ROTATE(a, 32);
      c += d; d = ROTATE(d, 16); d ^= c;
      a += d; d = ROTATE(d, 21); d ^= a;
      c += b; b = ROTATE(b, 17); b ^= c; c = ROTATE(c, 32);
      a ^= words[i];
    }
  return a ^ b ^ c ^ d;
}
