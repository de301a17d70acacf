// What a program reads of pt_regs, by hand-made instructions.
#include "spec/register_use.hpp"

#include <gtest/gtest.h>

#include "catalog/helpers.hpp"

namespace skep::spec {
namespace {

constexpr Insn exit_insn{0x95, 0, 0, 0, 0};
constexpr Insn mov(u8 dst, s32 value) { return {0xb7, dst, 0, 0, value}; }

class RegisterUseTest : public testing::Test {
 protected:
  static RegisterUse use(std::vector<Insn> insns) { return register_use(insns); }
  static Insn load(u8 dst, u8 base, s16 offset) { return {0x79, dst, base, offset, 0}; }
  static Insn copy(u8 dst, u8 src) { return {0xbf, dst, src, 0, 0}; }
  static Insn call(s32 id) { return {0x85, 0, 0, 0, id}; }
  static constexpr u32 di = 112, si = 104, dx = 96;
};

TEST_F(RegisterUseTest, IsFollowedThroughCopiesAndSpills) {
  EXPECT_EQ(use({load(2, 1, di), exit_insn}).words, 1u << 14);
  EXPECT_EQ(use({copy(6, 1), call(14), load(2, 6, si), exit_insn}).words, 1u << 13);
  // r7 = ctx + 8; spilled, loaded again
  const auto spilled =
      use({copy(7, 1), {0x07, 7, 0, 0, 8}, {0x7b, 10, 7, -16, 0}, load(3, 10, -16), load(0, 3, si - 8), exit_insn});
  EXPECT_EQ(spilled.words, 1u << 13);
  EXPECT_FALSE(spilled.everything);
  // after a call r1 is no context any more
  EXPECT_EQ(use({call(14), load(2, 1, di), exit_insn}).words, 0u);
  // a word that two loads share, a byte of the third
  EXPECT_EQ(use({{0x61, 2, 1, di + 4, 0}, {0x71, 3, 1, dx + 7, 0}, exit_insn}).words, 1u << 14 | 1u << 12);
}

/// Handlers load every parameter that they declare; those that nothing takes do not count.
TEST_F(RegisterUseTest, ALoadThatNothingTakesIsNoUse) {
  EXPECT_EQ(use({load(2, 1, di), load(3, 1, si), {0x7b, 10, 2, -8, 0}, call(14), exit_insn}).words, 1u << 14);
  EXPECT_EQ(use({load(3, 1, si), copy(3, 10), exit_insn}).words, 0u);
  EXPECT_EQ(use({load(3, 1, si), copy(2, 3), copy(3, 10), exit_insn}).words, 1u << 13);
  EXPECT_EQ(use({load(3, 1, si), {0x15, 0, 0, 0, 0}, copy(3, 10), exit_insn}).words,
            1u << 13);                                                    // a jump: not looked behind
  EXPECT_EQ(use({load(2, 1, si), call(4), exit_insn}).words, 1u << 13);   // a helper's parameter
  EXPECT_EQ(use({load(6, 1, si), call(14), exit_insn}).words, 1u << 13);  // outlives the call
}

TEST_F(RegisterUseTest, BranchesAreJoined) {
  // r6 is the context on one way and a number on the other
  const auto joined = use({copy(6, 1), {0x15, 1, 0, 1, 0}, mov(6, 0), load(2, 6, di), exit_insn});
  EXPECT_TRUE(joined.everything);
  // a loop
  EXPECT_EQ(use({copy(6, 1), load(2, 6, di), {0x15, 2, 0, -2, 0}, exit_insn}).words, 1u << 14);
  // code that is not reached does not count
  EXPECT_EQ(use({{0x05, 0, 0, 1, 0}, load(2, 1, di), exit_insn}).words, 0u);
  EXPECT_EQ(use({{0x05, 0, 0, 30000, 0}}).words, 0u);  // the verifier refuses it
}

TEST_F(RegisterUseTest, AContextOutOfSightIsEverything) {
  EXPECT_TRUE(use({{0x85, 0, 1, 0, 1}, exit_insn, exit_insn}).everything);      // a subprogram gets it
  EXPECT_TRUE(use({{0x7b, 2, 1, 0, 0}, exit_insn}).everything);                 // stored somewhere
  EXPECT_TRUE(use({{0x0f, 1, 2, 0, 0}, load(2, 1, 0), exit_insn}).everything);  // moved by an unknown distance
  EXPECT_TRUE(use({copy(3, 1), mov(2, 168), call(4), exit_insn}).words == (1u << 21) - 1);  // copied whole
  EXPECT_EQ(use({copy(3, 1), {0x07, 3, 0, 0, di}, mov(2, 8), call(113), exit_insn}).words, 1u << 14);
  EXPECT_TRUE(use({copy(3, 1), load(2, 10, -8), call(113), exit_insn}).everything);  // with an unknown size
  EXPECT_FALSE(use({call(25), exit_insn}).everything);                               // perf_event_output
}

/// A subprogram or a callback may find it in a structure on its caller's stack.
TEST_F(RegisterUseTest, AContextOnAStackThatIsHandedOnIsEverything) {
  const Insn spill{0x7b, 10, 1, -8, 0}, at_spill{0x07, 2, 0, 0, -16};
  const Insn local{0x85, 0, 1, 0, 1}, function{0x18, 2, 4, 0, 9}, second_half{};
  EXPECT_TRUE(use({spill, mov(1, 0), copy(2, 10), at_spill, local, exit_insn, exit_insn}).everything);
  EXPECT_FALSE(
      use({spill, mov(1, 0), mov(2, 0), mov(3, 0), mov(4, 0), mov(5, 0), local, exit_insn, exit_insn}).everything);
  EXPECT_FALSE(use({mov(1, 0), copy(2, 10), at_spill, local, exit_insn, exit_insn}).everything) << "nothing is there";
  const auto loop = [&](bool spills) {
    return use({spills ? spill : mov(0, 0),
                mov(1, 1),
                function,
                second_half,
                copy(3, 10),
                {0x07, 3, 0, 0, -16},
                mov(4, 0),
                call(static_cast<s32>(catalog::HelperId::loop)),
                exit_insn});
  };
  EXPECT_TRUE(loop(true).everything);
  EXPECT_FALSE(loop(false).everything);
  // a pointer into the stack at no known distance
  EXPECT_TRUE(use({spill, mov(1, 0), copy(2, 10), {0x0f, 2, 0, 0, 0}, local, exit_insn, exit_insn}).everything);
  EXPECT_FALSE(use({spill, copy(2, 10), at_spill, mov(1, 0), call(1), exit_insn}).everything) << "a helper's key";
}

/// A number on the stack is not followed: what it is when it is loaded again, others may have said.
TEST_F(RegisterUseTest, ASizeFromTheStackIsNotKnown) {
  EXPECT_TRUE(use({mov(2, 8), {0x7b, 10, 2, -8, 0}, copy(3, 1), load(2, 10, -8), call(113), exit_insn}).everything);
}

/// A pointer into the stack may be one of several; what is fetched by an exchange was stored before.
TEST_F(RegisterUseTest, AContextIsFoundAgainWhereverItWasStored) {
  const Insn first{0x7b, 10, 1, -8, 0}, second{0x7b, 10, 1, -16, 0};
  const auto one_of = [&](const Insn& other) {
    return use({first,
                other,
                copy(2, 10),
                {0x07, 2, 0, 0, -8},
                {0x15, 0, 0, 1, 0},
                {0x07, 2, 0, 0, -8},
                load(3, 2, 0),
                load(4, 3, di),
                exit_insn});
  };
  EXPECT_TRUE(one_of(second).everything);
  EXPECT_FALSE(use({mov(3, 0), copy(2, 10), {0x0f, 2, 3, 0, 0}, load(3, 2, -8), load(4, 3, di), exit_insn}).everything)
      << "none is there";
  EXPECT_TRUE(use({first, mov(2, 0), {0xdb, 10, 2, -8, 0xe1}, load(4, 2, di), exit_insn}).everything);  // xchg
  EXPECT_EQ(use({first, {0xdb, 2, 10, -8, 0x100}, load(4, 2, di), exit_insn}).words, 1u << 14);         // load_acquire
}

/// As the machine computes them: they wrap, and are cut.
TEST_F(RegisterUseTest, NumbersAreOfTheMachine) {
  std::vector<Insn> doubled{mov(2, 1)};
  doubled.insert(doubled.end(), 70, {0x0f, 2, 2, 0, 0});
  doubled.insert(doubled.end(), {copy(3, 1), call(113), exit_insn});
  EXPECT_TRUE(use(doubled).everything) << "a size of 0";
  doubled.resize(64);
  doubled.insert(doubled.end(), {{0x0f, 1, 2, 0, 0},
                                 load(5, 1, 0),
                                 copy(3, 10),
                                 {0x0f, 3, 2, 0, 0},
                                 load(4, 3, -8),
                                 mov(4, 0),
                                 {0x1f, 4, 2, 0, 0},
                                 exit_insn});
  EXPECT_FALSE(use(doubled).everything);
  EXPECT_TRUE(use({mov(2, 264), {0xbf, 2, 2, 8, 0}, copy(3, 1), call(113), exit_insn}).everything) << "movsx";
  EXPECT_EQ(use({mov(2, 8), {0xbc, 2, 2, 0, 0}, copy(3, 1), call(113), exit_insn}).words, 1u);
  EXPECT_TRUE(use({{0xb4, 2, 0, 0, -8}, {0x07, 2, 0, 0, 16}, copy(3, 1), call(113), exit_insn}).everything);
}

TEST_F(RegisterUseTest, HelpersOfTheCurrentTaskAreNamed) {
  const auto found = use({call(14), call(14), call(16), call(5), exit_insn});
  EXPECT_EQ(found.of_current, (std::vector<std::string_view>{"get_current_pid_tgid", "get_current_comm"}));
}

}  // namespace
}  // namespace skep::spec
