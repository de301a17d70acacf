/* FNV-1a over the bytes of 21 words, 16 times: a serial chain of xor and multiply. */
static unsigned long long fnv(const unsigned long long *words) {
  unsigned long long hash = 0xcbf29ce484222325ull;
  for (int round = 0; round < 16; round++)
    for (int i = 0; i < 21; i++) {
      unsigned long long word = words[i];
      for (int byte = 0; byte < 8; byte++) {
        hash = (hash ^ (word & 0xff)) * 0x100000001b3ull;
        word >>= 8;
      }
    }
  return hash;
}
