// A cookie written into a program.
#include "kernel/cookies.hpp"

#include <gtest/gtest.h>

namespace skep::kernel {
namespace {

constexpr Insn ask{0x85, 0, 0, 0, 174}, leave{0x95, 0, 0, 0, 0};

TEST(Cookies, StandWhereTheyWereAskedFor) {
  ProgramSpec program;
  program.insns = {
      {0x15, 1, 0, 1, 0},   // 0: if r1 == 0 goto 2
      ask,                  // 1
      ask,                  // 2: a jump leads here
      {0x18, 2, 0, 0, 0},   // 3: a number whose second half is no instruction
      {0, 0, 0, 0, 174},    // 4
      {0x85, 0, 0, 0, 14},  // 5: another helper
      leave,
  };
  program.lines = {{2, "f", "line", 1, 1}};
  EXPECT_TRUE(asks_for_cookie(program));
  ASSERT_TRUE(write_cookie(program, 0xfedcba9876543210));
  EXPECT_FALSE(asks_for_cookie(program));
  constexpr Insn low{0x18, 0, 0, 0, 0x76543210}, high{0, 0, 0, 0, static_cast<s32>(0xfedcba98)};
  const std::vector<Insn> expected = {{0x15, 1, 0, 2, 0},  low,  high, low, high, {0x18, 2, 0, 0, 0}, {0, 0, 0, 0, 174},
                                      {0x85, 0, 0, 0, 14}, leave};
  EXPECT_EQ(program.insns, expected);
  EXPECT_EQ(program.lines[0].insn, 3u);
  program.insns = {leave};
  EXPECT_FALSE(asks_for_cookie(program));
}

}  // namespace
}  // namespace skep::kernel
