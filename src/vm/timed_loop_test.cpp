// may_goto in every tier: when a loop ends, and what a look at the clock leaves alone.
#include "vm/timed_loop.hpp"

#include <gtest/gtest.h>

#include <chrono>

#include "isa/text.hpp"
#include "vm/bytecode.hpp"

namespace skep::vm {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<Insn> program(std::string_view text) {
  auto result = isa::assemble(text);
  EXPECT_TRUE(result) << result.error().message;
  return result.value_or(std::vector<Insn>{});
}

class TimedLoop : public testing::TestWithParam<Tier> {
 protected:
  u64 result_of(std::string_view text) {
    auto code = translate({program(text), {}, {}}, {});
    EXPECT_TRUE(code) << code.error().message;
    if (!code) return 0xbad;
    const auto function = trusted_function(std::move(*code), {.tier = GetParam()});
    EXPECT_TRUE(function) << function.error().message;
    if (!function) return 0xbad;
    const auto start = Clock::now();
    base::Run own;
    const u64 result = (*function)->run(own, nullptr);
    spent = Clock::now() - start;
    return result;
  }
  Clock::duration spent{};
};

using std::chrono::milliseconds;

TEST_P(TimedLoop, EndsAfterAQuarterOfASecond) {
  const u64 rounds = result_of("r0 = 0\nloop: may_goto end\nr0 += 1\ngoto loop\nend: exit");
  EXPECT_GE(rounds, 2 * timed_loop_rounds);  // the clock is read every so many rounds
  EXPECT_GE(spent, milliseconds(248));
}

TEST_P(TimedLoop, ALookKeepsEveryRegister) {
  EXPECT_EQ(
      result_of("r0 = 0\nr1 = 0\nr2 = 0\nr3 = 0\nr4 = 0\nr5 = 0\nr6 = 0\nr7 = 0\nr8 = 0\nr9 = 0\n"
                "loop: if r9 == 150000 goto end\nmay_goto end\n"
                "r0 += 1\nr1 += 2\nr2 += 3\nr3 += 4\nr4 += 5\nr5 += 6\nr6 += 7\nr7 += 8\nr8 += 9\nr9 += 1\ngoto loop\n"
                "end: r0 += r1\nr0 += r2\nr0 += r3\nr0 += r4\nr0 += r5\nr0 += r6\nr0 += r7\nr0 += r8\nr0 += r9\nexit"),
      150000u * 46);
}

TEST_P(TimedLoop, AFrameWhoseTimeIsOverLeavesLaterLoopsAtOnce) {
  EXPECT_EQ(result_of("r0 = 0\nfirst: may_goto then\ngoto first\nthen: may_goto end\nr0 += 1\ngoto then\nend: exit"),
            0u);
}

TEST_P(TimedLoop, EveryFrameHasItsOwnTime) {
  // The second call of the function loops again although the first used its time up.
  const u64 rounds = result_of(
      "call f\nr6 = r0\ncall f\nif r6 < 131070 goto few\nexit\nfew: r0 = 0\nexit\n"
      "f: r0 = 0\nloop: may_goto end\nr0 += 1\ngoto loop\nend: exit");
  EXPECT_GE(rounds, 2 * timed_loop_rounds);
  EXPECT_GE(spent, milliseconds(496));
}

TEST_P(TimedLoop, AJumpOntoTheNextInstructionIsNothing) {
  EXPECT_EQ(result_of("r0 = 7\nmay_goto next\nnext: exit"), 7u);
}

INSTANTIATE_TEST_SUITE_P(Tiers, TimedLoop, testing::Values(Tier::interpreter, Tier::baseline, Tier::optimised),
                         [](const auto& each) { return std::string(name_of(each.param)); });

TEST(TimedLoopState, BeginsWithoutALookAndKeepsItsBeginning) {
  const u64 first = look_at_clock(0);
  EXPECT_NE(first >> 32, 0u);
  EXPECT_EQ(rounds_left(first), timed_loop_rounds);
  const u64 second = look_at_clock(first & ~u64{0xffffffff});
  EXPECT_EQ(second >> 32, first >> 32);
  const u64 long_ago = first - (u64{2000} << 32);
  EXPECT_EQ(rounds_left(look_at_clock(long_ago)), timed_loop_over);
  // The clock's units wrap: a beginning "ahead" of now is not an age.
  EXPECT_EQ(rounds_left(look_at_clock(first + (u64{1} << 32))), timed_loop_rounds);
}

}  // namespace
}  // namespace skep::vm
