/* A tokenizer over 192 random characters: a state machine whose next branch nobody can guess. */
#include "bench.h"

enum { outside, in_word, in_number, in_space };

PROGRAM(context) {
  const u8 *text = (const u8 *)(input + 1);
  const u64 salt = fresh();
  u32 state = outside, words = 0, numbers = 0, others = 0, value = 0;
  for (int i = 0; i < 192; i++) {
    const u8 c = (text[i] ^ (u8)(salt >> (i & 31))) & 127;
    if (c >= 'a' && c <= 'z') {
      if (state != in_word) words++;
      state = in_word;
    } else if (c >= '0' && c <= '9') {
      if (state == in_number)
        value = value * 10 + (c - '0');
      else if (state != in_word)
        numbers++, value += c - '0', state = in_number;
    } else if (c == ' ' || c < 14) {
      state = in_space;
    } else {
      if (state == in_word && c >= 'A' && c <= 'Z') continue;
      others++;
      state = outside;
    }
  }
  return words ^ numbers << 8 ^ others << 16 ^ value * 0x9e3779b1u;
}
