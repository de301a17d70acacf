/* An interpreter of its own: 128 random instructions through a switch with sixteen arms. */
#include "bench.h"

PROGRAM(context) {
  const u8 *code = (const u8 *)(input + 1);
  const u64 salt = fresh();
  u64 a = 1, b = 2, c = 3;
  for (int pc = 0; pc < 128; pc++) {
    const u8 insn = code[pc] ^ (u8)(salt >> (pc & 31));
    const u32 operand = insn >> 4;
    switch (insn & 15) {
      case 0: a += b; break;
      case 1: a ^= c; break;
      case 2: b += operand; break;
      case 3: c = a; break;
      case 4: a <<= operand; break;
      case 5: b ^= a; break;
      case 6: c += b * 3; break;
      case 7: a = ~a; break;
      case 8: b >>= 1; break;
      case 9: c |= operand; break;
      case 10: a -= c; break;
      case 11: b *= 5; break;
      case 12: c &= ~(u64)operand; break;
      case 13: a = b + c; break;
      case 14: b = rotate64(b, 9); break;
      default: c ^= b; break;
    }
  }
  return fold(a ^ b * 31 ^ c * 961);
}
