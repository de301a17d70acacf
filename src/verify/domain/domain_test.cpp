// The abstract operators against the concrete ones, at widths small enough to enumerate.
//
// Soundness is all that counts here: whatever the machine can compute from members of the operands must be a
// member of the result. The templates that the verifier uses at 64/32 bits are instantiated at 16/8 bits (and the
// known bits at 8), where every member can be listed.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "verify/domain/scalar_compare.hpp"

namespace skep::verify {
namespace {

using isa::Alu;
using isa::Compare;
using Tnum8 = BasicTnum<u8>;
using Small = BasicScalar<u16, u8>;

constexpr u32 seed = 20240611;

/// What the machine computes at a width isa::semantics has no instance for: through 64 bits, cut to U.
template <class U>
U machine(Alu op, U a, U b) {
  using S = std::make_signed_t<U>;
  constexpr unsigned width = sizeof(U) * 8;
  switch (op) {
    case Alu::div:
      return b == 0 ? U{0} : static_cast<U>(a / b);
    case Alu::mod:
      return b == 0 ? a : static_cast<U>(a % b);
    case Alu::sdiv:
      return b == 0 ? U{0} : static_cast<U>(int{static_cast<S>(a)} / int{static_cast<S>(b)});
    case Alu::smod:
      return b == 0 ? a : static_cast<U>(int{static_cast<S>(a)} % int{static_cast<S>(b)});
    case Alu::lsh:
      return static_cast<U>(a << (b & (width - 1)));
    case Alu::rsh:
      return static_cast<U>(a >> (b & (width - 1)));
    case Alu::arsh:
      return static_cast<U>(static_cast<S>(a) >> (b & (width - 1)));
    default:
      return static_cast<U>(isa::calculate<u64>(op, a, b));
  }
}

template <class U>
bool machine_holds(Compare c, U a, U b) {
  bool is_signed = c == Compare::sgt || c == Compare::sge || c == Compare::slt || c == Compare::sle;
  using S = std::make_signed_t<U>;
  if (is_signed)
    return isa::holds<u64>(c, static_cast<u64>(s64{static_cast<S>(a)}), static_cast<u64>(s64{static_cast<S>(b)}));
  return isa::holds<u64>(c, a, b);
}

std::vector<u8> members(const Tnum8& t) {
  std::vector<u8> result;
  for (unsigned n = 0; n < 256; n++)
    if (t.contains(static_cast<u8>(n))) result.push_back(static_cast<u8>(n));
  return result;
}

/// Every well-formed Tnum of the low `bits` bits, the others known to be 0.
std::vector<Tnum8> all_tnums(unsigned bits) {
  std::vector<Tnum8> result;
  for (unsigned mask = 0; mask < 1u << bits; mask++)
    for (unsigned value = 0; value < 1u << bits; value++)
      if ((mask & value) == 0) result.push_back({static_cast<u8>(value), static_cast<u8>(mask)});
  return result;
}

template <class Abstract, class Concrete>
void check_tnum(const std::vector<Tnum8>& tnums, const char* name, Abstract abstract, Concrete concrete) {
  for (const Tnum8& a : tnums)
    for (const Tnum8& b : tnums) {
      Tnum8 r = abstract(a, b);
      ASSERT_EQ(r.value & r.mask, 0) << name;
      for (u8 x : members(a))
        for (u8 y : members(b))
          ASSERT_TRUE(r.contains(static_cast<u8>(concrete(x, y))))
              << name << ": " << +x << ", " << +y << " in (" << +a.value << "," << +a.mask << ") (" << +b.value << ","
              << +b.mask << ")";
    }
}

/// A scalar that holds the number, and not much else: bounds and known bits from elsewhere.
Small around(std::mt19937& random, u16 number) {
  Small s = Small::of(number);
  const u16 low = static_cast<u16>(random() & random()), high = static_cast<u16>(random() & random());
  s.wide.umin = static_cast<u16>(number - std::min<u16>(number, low));
  s.wide.umax = static_cast<u16>(number + std::min<u16>(static_cast<u16>(0xffff - number), high));
  s.wide.smin = Interval<u16>::s_min, s.wide.smax = Interval<u16>::s_max;
  s.narrow = Interval<u8>::unknown();
  s.bits.mask = static_cast<u16>(random() & random());
  s.bits.value = static_cast<u16>(s.bits.value & ~s.bits.mask);
  s.normalise();
  return s;
}

TEST(Scalar, JoinsIncludeBoth) {
  std::mt19937 random(seed);
  for (int round = 0; round < 20'000; round++) {
    const u16 x = static_cast<u16>(random()), y = static_cast<u16>(random());
    const Small a = around(random, x), b = around(random, y), both = a.join(b);
    ASSERT_TRUE(a.contains(x) && b.contains(y));
    ASSERT_TRUE(both.includes(a) && both.includes(b) && both.contains(x) && both.contains(y));
    ASSERT_TRUE(both == b.join(a) && a.join(a) == a);
  }
}

TEST(Tnum, OperatorsAreSoundOnEveryPairOfFiveBits) {
  auto tnums = all_tnums(5);
  check_tnum(tnums, "+", [](auto a, auto b) { return a + b; }, [](int x, int y) { return x + y; });
  check_tnum(tnums, "-", [](auto a, auto b) { return a - b; }, [](int x, int y) { return x - y; });
  check_tnum(tnums, "*", [](auto a, auto b) { return a * b; }, [](int x, int y) { return x * y; });
  check_tnum(tnums, "&", [](auto a, auto b) { return a & b; }, [](int x, int y) { return x & y; });
  check_tnum(tnums, "|", [](auto a, auto b) { return a | b; }, [](int x, int y) { return x | y; });
  check_tnum(tnums, "^", [](auto a, auto b) { return a ^ b; }, [](int x, int y) { return x ^ y; });
}

TEST(Tnum, OperatorsAreSoundOnRandomPairsOfEightBits) {
  std::mt19937 random(seed);
  auto draw = [&] {
    u8 mask = static_cast<u8>(random() & random());
    return Tnum8{static_cast<u8>(random() & ~mask), mask};
  };
  for (int round = 0; round < 4000; round++) {
    std::vector<Tnum8> pair{draw(), draw()};
    check_tnum(pair, "+", [](auto a, auto b) { return a + b; }, [](int x, int y) { return x + y; });
    check_tnum(pair, "-", [](auto a, auto b) { return a - b; }, [](int x, int y) { return x - y; });
    check_tnum(pair, "*", [](auto a, auto b) { return a * b; }, [](int x, int y) { return x * y; });
  }
}

TEST(Tnum, ShiftsRangesAndIntersectionsAreSound) {
  for (const Tnum8& t : all_tnums(8)) {
    auto list = members(t);
    for (unsigned count = 0; count < 8; count++)
      for (u8 x : list) {
        ASSERT_TRUE(t.shifted_left(count).contains(static_cast<u8>(x << count)));
        ASSERT_TRUE(t.shifted_right(count).contains(static_cast<u8>(x >> count)));
        ASSERT_TRUE(t.shifted_right_signed(count).contains(static_cast<u8>(static_cast<s8>(x) >> count)));
      }
    ASSERT_EQ(t.min(), list.front());
    ASSERT_EQ(t.max(), list.back());
  }
  for (unsigned low = 0; low < 256; low++)
    for (unsigned high = low; high < 256; high++) {
      Tnum8 t = Tnum8::range(static_cast<u8>(low), static_cast<u8>(high));
      ASSERT_TRUE(t.contains(static_cast<u8>(low)) && t.contains(static_cast<u8>(high)) &&
                  t.contains(static_cast<u8>((low + high) / 2)));
    }
  auto tnums = all_tnums(5);
  for (const Tnum8& a : tnums)
    for (const Tnum8& b : tnums) {
      Tnum8 both = a;
      bool possible = both.intersect(b);
      for (unsigned n = 0; n < 32; n++) {
        bool in_both = a.contains(static_cast<u8>(n)) && b.contains(static_cast<u8>(n));
        ASSERT_EQ(in_both, possible && both.contains(static_cast<u8>(n)));
        if (a.contains(static_cast<u8>(n)) || b.contains(static_cast<u8>(n))) {
          ASSERT_TRUE(a.join(b).contains(static_cast<u8>(n)));
        }
      }
      if (a.includes(b)) {
        for (u8 y : members(b)) ASSERT_TRUE(a.contains(y));
      }
    }
}

/// A scalar that holds a few drawn numbers, by some of its views only, and the numbers.
struct Drawn {
  Small scalar;
  std::vector<u16> numbers;
};

Drawn draw(std::mt19937& random) {
  auto number = [&]() -> u16 {
    switch (random() % 6) {
      case 0:
        return static_cast<u16>(random() % 4);
      case 1:
        return static_cast<u16>(0 - random() % 4);
      case 2:
        return static_cast<u16>(0x7f + random() % 3);
      case 3:
        return static_cast<u16>(0x7ffe + random() % 4);
      default:
        return static_cast<u16>(random());
    }
  };
  Drawn d;
  u16 base = number();
  unsigned count = 1 + random() % 4;
  for (unsigned i = 0; i < count; i++)
    d.numbers.push_back(random() % 2 ? number() : static_cast<u16>(base + random() % 16));
  Small s;
  if (random() % 4 != 0) {  // bounds of the whole
    s.wide = Interval<u16>::of(d.numbers[0]);
    for (u16 n : d.numbers) {
      s.wide.umin = std::min(s.wide.umin, n), s.wide.umax = std::max(s.wide.umax, n);
      s.wide.smin = std::min(s.wide.smin, static_cast<s16>(n)),
      s.wide.smax = std::max(s.wide.smax, static_cast<s16>(n));
    }
    if (random() % 3 == 0) s.wide.umin = 0, s.wide.umax = 0xffff;
    if (random() % 3 == 0) s.wide.smin = -0x8000, s.wide.smax = 0x7fff;
  }
  if (random() % 3 != 0) {  // bounds of the low half
    s.narrow = Interval<u8>::of(static_cast<u8>(d.numbers[0]));
    for (u16 n : d.numbers) {
      u8 low = static_cast<u8>(n);
      s.narrow.umin = std::min(s.narrow.umin, low), s.narrow.umax = std::max(s.narrow.umax, low);
      s.narrow.smin = std::min(s.narrow.smin, static_cast<s8>(low)),
      s.narrow.smax = std::max(s.narrow.smax, static_cast<s8>(low));
    }
  }
  if (random() % 3 != 0) {
    s.bits = BasicTnum<u16>::of(d.numbers[0]);
    for (u16 n : d.numbers) s.bits = s.bits.join(BasicTnum<u16>::of(n));
  }
  EXPECT_TRUE(s.normalise());
  d.scalar = s;
  // More members than those it was made from: some of what the views allow.
  std::vector<u16> allowed;
  for (unsigned n = 0; n < 0x10000; n++)
    if (s.contains(static_cast<u16>(n))) allowed.push_back(static_cast<u16>(n));
  for (u16 n : d.numbers) EXPECT_TRUE(s.contains(n));
  d.numbers.push_back(allowed.front());
  d.numbers.push_back(allowed.back());
  for (int i = 0; i < 6; i++) d.numbers.push_back(allowed[random() % allowed.size()]);
  return d;
}

constexpr Alu operators[] = {Alu::add, Alu::sub, Alu::mul, Alu::div,  Alu::sdiv, Alu::or_,  Alu::and_,
                             Alu::lsh, Alu::rsh, Alu::mod, Alu::smod, Alu::xor_, Alu::arsh, Alu::neg};
constexpr Compare comparisons[] = {Compare::eq,  Compare::gt, Compare::ge, Compare::set, Compare::ne, Compare::sgt,
                                   Compare::sge, Compare::lt, Compare::le, Compare::slt, Compare::sle};

TEST(Scalar, ArithmeticIsSound) {
  std::mt19937 random(seed);
  for (int round = 0; round < 3000; round++) {
    Drawn a = draw(random), b = draw(random);
    for (Alu op : operators) {
      Small wide = alu(op, a.scalar, b.scalar, true), low = alu(op, a.scalar, b.scalar, false);
      bool shifts = op == Alu::lsh || op == Alu::rsh || op == Alu::arsh;
      for (u16 x : a.numbers)
        for (u16 y : b.numbers) {
          if (shifts && y >= 16) continue;  // the machine masks the count; the verifier forgets the result
          ASSERT_TRUE(wide.contains(machine<u16>(op, x, y)))
              << "op " << +static_cast<u8>(op) << " " << x << " " << y << " round " << round;
          if (shifts && static_cast<u8>(y) >= 8) continue;
          u16 result = machine<u8>(op, static_cast<u8>(x), static_cast<u8>(y));
          ASSERT_TRUE(low.contains(result))
              << "op32 " << +static_cast<u8>(op) << " " << x << " " << y << " round " << round;
        }
    }
  }
}

TEST(Scalar, LargeShiftCountsForgetTheResult) {
  std::mt19937 random(seed + 1);
  for (int round = 0; round < 2000; round++) {
    Drawn a = draw(random), b = draw(random);
    for (Alu op : {Alu::lsh, Alu::rsh, Alu::arsh}) {
      Small wide = alu(op, a.scalar, b.scalar, true);
      for (u16 x : a.numbers)
        for (u16 y : b.numbers) ASSERT_TRUE(wide.contains(machine<u16>(op, x, y)));
    }
  }
}

TEST(Scalar, NarrowingAndExtensionAreSound) {
  std::mt19937 random(seed + 2);
  for (int round = 0; round < 3000; round++) {
    Drawn a = draw(random);
    for (unsigned bits : {2u, 4u, 8u}) {
      Small cut = truncated(a.scalar, bits), wide = sign_extended(a.scalar, bits, true),
            low = sign_extended(a.scalar, bits, false);
      for (u16 x : a.numbers) {
        u16 kept = static_cast<u16>(x & ((1u << bits) - 1));
        ASSERT_TRUE(cut.contains(kept)) << bits << " " << x;
        u16 extended = static_cast<u16>(static_cast<s16>(static_cast<u16>(kept << (16 - bits))) >> (16 - bits));
        ASSERT_TRUE(wide.contains(extended)) << bits << " " << x << " round " << round;
        ASSERT_TRUE(low.contains(static_cast<u8>(extended))) << bits << " " << x;
      }
    }
  }
}

TEST(Scalar, ComparisonsAreDecidedAndRefinedSoundly) {
  std::mt19937 random(seed + 3);
  for (int round = 0; round < 3000; round++) {
    Drawn a = draw(random), b = draw(random);
    if (round % 3 == 0) b.scalar = Small::of(b.numbers[0]), b.numbers.resize(1);
    for (Compare c : comparisons)
      for (bool wide : {true, false}) {
        Decision decision = decide(c, a.scalar, b.scalar, wide);
        for (bool outcome : {true, false}) {
          Small x = a.scalar, y = b.scalar;
          bool possible = refine(c, x, y, wide, outcome);
          for (u16 n : a.numbers)
            for (u16 m : b.numbers) {
              bool holds =
                  wide ? machine_holds<u16>(c, n, m) : machine_holds<u8>(c, static_cast<u8>(n), static_cast<u8>(m));
              if (decision != Decision::either) {
                ASSERT_EQ(holds, decision == Decision::always) << +static_cast<u8>(c) << " " << n << " " << m;
              }
              if (holds != outcome) continue;
              ASSERT_TRUE(possible) << +static_cast<u8>(c) << " " << n << " " << m << " wide " << wide;
              ASSERT_TRUE(x.contains(n) && y.contains(m))
                  << +static_cast<u8>(c) << " " << n << " " << m << " wide " << wide << " " << outcome;
            }
        }
      }
  }
}

TEST(Scalar, ArithmeticAt64BitsHoldsOnSamples) {
  std::mt19937_64 random(seed);
  for (int round = 0; round < 200000; round++) {
    u64 x = random() >> (random() % 64), y = random() >> (random() % 64);
    u64 mx = random() >> (random() % 64), my = random() >> (random() % 64);
    Scalar a, b;
    a.bits = {x & ~mx, mx};
    b.wide.meet_unsigned(y - std::min(y, my), y);
    ASSERT_TRUE(a.normalise() && b.normalise());
    for (Alu op : operators) {
      bool shifts = op == Alu::lsh || op == Alu::rsh || op == Alu::arsh;
      ASSERT_TRUE(alu(op, a, b, true).contains(isa::calculate<u64>(op, x, y)))
          << +static_cast<u8>(op) << " " << x << " " << y;
      if (shifts && static_cast<u32>(y) >= 32) continue;
      ASSERT_TRUE(alu(op, a, b, false).contains(isa::calculate<u32>(op, static_cast<u32>(x), static_cast<u32>(y))));
    }
  }
}

TEST(Domain, MembersNextToANumber) {
  for (const Tnum8& t : all_tnums(8)) {
    const auto all = members(t);
    for (unsigned n = t.min(); n <= t.max(); n++) {
      const auto number = static_cast<u8>(n);
      ASSERT_EQ(t.least_from(number), *std::ranges::lower_bound(all, number)) << n;
      ASSERT_EQ(t.greatest_to(number), *std::prev(std::ranges::upper_bound(all, number))) << n;
    }
  }
}

TEST(Domain, OneNumberBetweenBitsAndBounds) {
  const auto between = [](u16 value, u16 mask, u16 low, u16 high) {
    Small s;
    s.bits = {value, mask};
    s.wide.meet_unsigned(low, high);
    EXPECT_TRUE(s.normalise());
    return s;
  };
  EXPECT_EQ(between(0xe0, 0x10, 0xe1, 0xffff), Small::of(0xf0));
  EXPECT_EQ(between(0xe0, 0x10, 0, 0xef), Small::of(0xe0));
  EXPECT_EQ(between(0x1100, 0x80, 0x1101, 0x11ff), Small::of(0x1180));
  EXPECT_FALSE(between(0xe0, 0x18, 0xe1, 0xffff).is_const()) << "0xe8, 0xf0 or 0xf8";
}

}  // namespace
}  // namespace skep::verify
