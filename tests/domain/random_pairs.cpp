// Random pairs at 64 and 32 bits: operands are drawn around concrete members, and what the machine computes from the
// members must be a member of the result.
#include <random>

#include "machine8.hpp"
#include "prove.hpp"
#include "verify/domain/scalar_compare.hpp"

namespace skep::verify {
namespace {

using isa::Alu;
using isa::Compare;
using Random = std::mt19937_64;

u64 number(Random& random) {
  constexpr u64 corners[] = {0,
                             1,
                             0x7fffffff,
                             0x80000000,
                             0xffffffff,
                             0x100000000,
                             0x7fffffffffffffff,
                             0x8000000000000000,
                             0xffffffff80000000,
                             ~u64{0}};
  const u64 r = random();
  switch (r % 4) {
    case 0:
      return corners[r / 4 % 10] + r / 64 % 5 - 2;
    case 1:
      return (random() >> (r / 4 % 64)) * (r % 8 < 4 ? 1 : ~u64{0});
    default:
      return random() >> (r / 4 % 64);
  }
}

/// A scalar that holds `member` and another number, by some of its views.
Scalar around(u64 member, Random& random, Tally& tally) {
  const u64 shape = random();
  if (shape % 8 == 0) return Scalar::of(member);
  const u64 other = shape % 3 != 0 ? member + (random() >> (shape / 8 % 64)) : number(random);
  Scalar s;
  if (shape >> 8 & 3) {
    if (shape >> 10 & 1) s.wide.umin = std::min(member, other), s.wide.umax = std::max(member, other);
    if (shape >> 11 & 1) {
      const s64 a = static_cast<s64>(member), b = static_cast<s64>(other);
      s.wide.smin = std::min(a, b), s.wide.smax = std::max(a, b);
    }
  }
  if (shape >> 12 & 1) {
    const u32 a = static_cast<u32>(member), b = static_cast<u32>(other);
    if (shape >> 13 & 1) s.narrow.umin = std::min(a, b), s.narrow.umax = std::max(a, b);
    if (shape >> 14 & 1) {
      s.narrow.smin = std::min(static_cast<s32>(a), static_cast<s32>(b));
      s.narrow.smax = std::max(static_cast<s32>(a), static_cast<s32>(b));
    }
  }
  if (shape >> 15 & 1) {
    const u64 mask = random() & (shape >> 16 & 1 ? random() : ~u64{0});
    s.bits = {member & ~mask, mask};
  }
  if (!s.normalise() || !s.contains(member)) tally.violation("normalise loses {:#x}", member);
  return s;
}

void random_pair(Random& random, Tally& tally) {
  const u64 x = number(random), y = random() % 4 == 0 ? x + random() % 5 - 2 : number(random);
  const Scalar a = around(x, random, tally), b = around(y, random, tally);
  const u64 choice = random();
  const Alu op = operators[choice % std::size(operators)];
  if (!alu(op, a, b, true).contains(isa::calculate<u64>(op, x, y)))
    tally.violation("64-bit {} of {:#x} and {:#x}", name_of(op), x, y);
  const u32 low = isa::calculate<u32>(op, static_cast<u32>(x), static_cast<u32>(y));
  if (!alu(op, a, b, false).contains(low)) tally.violation("32-bit {} of {:#x} and {:#x}", name_of(op), x, y);

  const Compare c = comparisons[choice / 16 % std::size(comparisons)];
  for (const bool wide : {true, false}) {
    const bool holds = wide ? isa::holds<u64>(c, x, y) : isa::holds<u32>(c, static_cast<u32>(x), static_cast<u32>(y));
    const Decision decision = decide(c, a, b, wide);
    if (decision == (holds ? Decision::never : Decision::always))
      tally.violation("comparison {} of {:#x} and {:#x}", name_of(c), x, y);
    Scalar left = a, right = b;
    if (!refine(c, left, right, wide, holds) || !left.contains(x) || !right.contains(y))
      tally.violation("comparison {} ({} bits) of {:#x} and {:#x}: refined too far", name_of(c), wide ? 64 : 32, x, y);
  }
  const unsigned bits = 8u << (choice / 256 % 3);
  const u64 cut = bits == 64 ? x : x & ((u64{1} << bits) - 1);
  const u64 extended = static_cast<u64>(static_cast<s64>(x << (64 - bits)) >> (64 - bits));
  if (!truncated(a, bits).contains(cut)) tally.violation("truncated to {}: {:#x}", bits, x);
  if (!sign_extended(a, bits, true).contains(extended)) tally.violation("sign extended from {}: {:#x}", bits, x);
  if (!sign_extended(a, bits, false).contains(static_cast<u32>(extended)))
    tally.violation("32-bit sign extended from {}: {:#x}", bits, x);
  if (a.includes(b) && !a.contains(y)) tally.violation("includes: {:#x}", y);
  tally.judged++;
}

}  // namespace

void add_random_pairs(std::vector<Task>& tasks, u64 pairs, u64 seed) {
  constexpr u64 at_once = 20'000'000;
  for (u64 done = 0; done < pairs; done += at_once, seed++) {
    const u64 count = std::min(at_once, pairs - done);
    tasks.push_back({fmt::format("{} random pairs at 64 and 32 bits, seed {}", count, seed), [=](Tally& tally) {
                       Random random(seed);
                       for (u64 n = 0; n < count; n++) random_pair(random, tally);
                     }});
  }
}

}  // namespace skep::verify
