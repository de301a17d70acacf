// The meaning of instructions against RFC 9669's rules and against wider arithmetic.
#include "isa/semantics.hpp"

#include <gtest/gtest.h>

#include <random>

namespace skep::isa {
namespace {

constexpr u64 min64 = u64{1} << 63;
constexpr u32 min32 = u32{1} << 31;

// RFC 9669, section 4.1, as compile-time facts.
static_assert(calculate<u64>(Alu::div, 7, 0) == 0);
static_assert(calculate<u64>(Alu::mod, 7, 0) == 7);
static_assert(calculate<u64>(Alu::sdiv, min64, u64(-1)) == min64);
static_assert(calculate<u64>(Alu::smod, min64, u64(-1)) == 0);
static_assert(calculate<u32>(Alu::sdiv, min32, u32(-1)) == min32);
static_assert(calculate<u64>(Alu::smod, u64(-13), 3) == u64(-1));
static_assert(calculate<u64>(Alu::smod, 13, u64(-3)) == 1);
static_assert(calculate<u64>(Alu::lsh, 1, 65) == 2);
static_assert(calculate<u32>(Alu::rsh, 8, 33) == 4);
static_assert(calculate<u32>(Alu::arsh, min32, 31) == 0xffffffff);
static_assert(calculate<u64>(Alu::neg, min64, 0) == min64);
static_assert(arithmetic(Op::mov32_imm, 0, u64(-1)) == 0xffffffff);
static_assert(arithmetic(Op::mov64_imm, 0, u64(-1)) == ~u64{0});
static_assert(arithmetic(Op::div64_imm, 10, u64(-1)) == 0);
static_assert(arithmetic(Op::add32_reg, 0xffffffffffffffff, 1) == 0);
static_assert(sign_extended(Op::movsx8_32, 0x180) == 0xffffff80);
static_assert(sign_extended(Op::movsx8_64, 0x180) == 0xffffffffffffff80);
static_assert(sign_extended(Op::movsx32_64, 0x80000000) == 0xffffffff80000000);
static_assert(reordered(Op::le16, 0x12345678) == 0x5678);
static_assert(reordered(Op::be16, 0x12345678) == 0x7856);
static_assert(reordered(Op::be32, 0x1122334455667788) == 0x88776655);
static_assert(reordered(Op::bswap64, 0x1122334455667788) == 0x8877665544332211);
static_assert(loaded(Op::ldxsw, 0x80000000) == 0xffffffff80000000);
static_assert(loaded(Op::ldxw, 0x80000000) == 0x80000000);
static_assert(taken(Op::jset64_imm, 8, u64(-8)));
static_assert(!taken(Op::jset32_reg, u64{1} << 40, ~u64{0}));
static_assert(taken(Op::jslt64_imm, u64(-1), 0));
static_assert(!taken(Op::jlt64_imm, u64(-1), 0));
static_assert(taken(Op::jsgt32_imm, 0xffffffff00000001, 0));

/// Every 32-bit operation against 128-bit arithmetic on random and edge operands.
TEST(Semantics, ThirtyTwoBitArithmeticAgreesWithWiderArithmetic) {
  std::mt19937_64 random(5);
  constexpr u32 edges[] = {0, 1, 2, 31, 32, 33, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
  const auto pick = [&] { return random() % 2 ? edges[random() % std::size(edges)] : static_cast<u32>(random()); };
  for (int round = 0; round < 100000; round++) {
    const u32 a = pick(), b = pick();
    const __int128 sa = static_cast<s32>(a), sb = static_cast<s32>(b);
    const auto low = [](__int128 value) { return static_cast<u32>(value); };
    ASSERT_EQ(calculate<u32>(Alu::add, a, b), low(sa + sb));
    ASSERT_EQ(calculate<u32>(Alu::sub, a, b), low(sa - sb));
    ASSERT_EQ(calculate<u32>(Alu::mul, a, b), low(sa * sb));
    ASSERT_EQ(calculate<u32>(Alu::sdiv, a, b), b == 0 ? 0 : low(sa / sb)) << a << " " << b;
    ASSERT_EQ(calculate<u32>(Alu::smod, a, b), b == 0 ? a : low(sa % sb)) << a << " " << b;
    ASSERT_EQ(calculate<u32>(Alu::arsh, a, b), low(sa >> (b % 32)));
    ASSERT_EQ(calculate<u32>(Alu::lsh, a, b), low(static_cast<__int128>(a) << (b % 32)));
    ASSERT_EQ(holds<u32>(Compare::slt, a, b), sa < sb);
    ASSERT_EQ(holds<u32>(Compare::sge, a, b), sa >= sb);
  }
}

TEST(Semantics, ArithmeticAndComparisonOfEveryRowAreDefined) {
  int arithmetics = 0, jumps = 0;
  for (const Row& r : rows()) {
    if (r.form == Form::alu_imm || r.form == Form::alu_reg || r.form == Form::alu_unary) {
      arithmetics++;
      const u64 result = arithmetic(r.op, 0x8000000000000001, 3);
      EXPECT_EQ(is_wide(r.op) ? 0 : result >> 32, 0u) << r.name;
    }
    if (r.form == Form::jump_imm || r.form == Form::jump_reg) {
      jumps++;
      // A comparison and its opposite never agree.
      const auto c = compare_of(r.op);
      if (c == Compare::eq) {
        EXPECT_NE(taken(r.op, 5, 5), holds<u64>(Compare::ne, 5, 5));
      }
      if (c == Compare::gt) {
        EXPECT_NE(taken(r.op, 5, 6), holds<u64>(Compare::le, 5, 6));
      }
    }
  }
  EXPECT_EQ(arithmetics, 2 * (12 * 2 + 1 + 4));
  EXPECT_EQ(jumps, 2 * 2 * 11);
}

TEST(Decode, StrictAboutUnusedFields) {
  EXPECT_EQ(decode({0x95, 0, 0, 0, 0}), Op::exit);
  EXPECT_FALSE(decode({0x95, 1, 0, 0, 0}));
  EXPECT_FALSE(decode({0x95, 0, 0, 1, 0}));
  EXPECT_FALSE(decode({0x07, 1, 1, 0, 0}));
  EXPECT_FALSE(decode({0x07, 11, 0, 0, 0}));
  EXPECT_FALSE(decode({0x0f, 1, 11, 0, 0}));
  EXPECT_FALSE(decode({0xdb, 1, 1, 0, 0x77}));
  EXPECT_FALSE(decode({0xff, 0, 0, 0, 0}));
  EXPECT_EQ(decode({0xbf, 1, 2, 16, 0}), Op::movsx16_64);
  EXPECT_FALSE(decode({0xbc, 1, 2, 32, 0}));
  EXPECT_EQ(why_undecodable({0x95, 1, 0, 0, 0}), "the destination register is not used here and must be 0");
  EXPECT_EQ(why_undecodable({0xff, 0, 0, 0, 0}), "the opcode is not in RFC 9669 nor among Linux's extensions");
}

}  // namespace
}  // namespace skep::isa
