/* Big-endian fields put together from bytes, as portable code does: a 16, 32 and 64-bit field of 24 records. */
#include "bench.h"

static inline u32 be16(const u8 *p) { return (u32)p[0] << 8 | p[1]; }
static inline u32 be32(const u8 *p) { return be16(p) << 16 | be16(p + 2); }
static inline u64 be64(const u8 *p) { return (u64)be32(p) << 32 | be32(p + 4); }

PROGRAM(context) {
  const u8 *bytes = (const u8 *)input;
  u64 sum = 0;
  for (int record = 0; record < 24; record++) {
    const u8 *p = bytes + record * 20;
    sum = (sum ^ be16(p)) + be32(p + 3);
    sum ^= be64(p + 9);
  }
  return fold(sum);
}
