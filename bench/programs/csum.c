/* The internet checksum of 1 KiB, 16 bits at a time. Source: RFC 1071. */
#include "bench.h"

PROGRAM(context) {
  const u16 *words = (const u16 *)input;
  u32 sum = 0;
  for (int i = 0; i < input_words * 4; i++) {
    sum += words[i];
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return (u16)~((sum & 0xffff) + (sum >> 16));
}
