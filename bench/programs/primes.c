/* Trial division of 32 odd numbers below 1024: 32-bit remainders. */
#include "bench.h"

PROGRAM(context) {
  const u64 salt = fresh();
  u32 primes = 0;
  for (int i = 0; i < 32; i++) {
    const u32 candidate = ((input[i] ^ salt) & 1023) | 1;
    u32 divisor = 3;
    while (divisor < 32 && divisor * divisor <= candidate && candidate % divisor != 0) divisor += 2;
    if (divisor * divisor > candidate) primes += candidate;
  }
  return primes;
}
