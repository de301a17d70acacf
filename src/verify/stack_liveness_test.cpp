// Which slots are alive where, on small control flows.
#include "verify/stack_liveness.hpp"

#include <gtest/gtest.h>

#include "isa/text.hpp"

namespace skep::verify {
namespace {

struct Flow {
  ProgramSpec program;
  Analysis analysis;
  StackLiveness liveness;

  explicit Flow(std::string_view text) {
    auto assembly = isa::parse(text, {});
    EXPECT_TRUE(assembly.has_value()) << text;
    program.insns = assembly->insns;
    EXPECT_FALSE(analyse(program, nullptr, false, analysis).has_value());
    liveness.start(program, analysis);
  }
};

TEST(StackLiveness, AReadIsCarriedBackToTheStoreThatCoversIt) {
  Flow flow(
      "r1 = 1\n"
      "*(u64 *)(r10 -8) = r1\n"
      "r2 = 2\n"
      "r0 = *(u64 *)(r10 -8)\n"
      "exit\n");
  const u32 main = flow.liveness.root(0);
  EXPECT_EQ(flow.liveness.live(main, 3, 0), 0u);
  flow.liveness.read(main, 3, 0, 0);
  EXPECT_EQ(flow.liveness.live(main, 3, 0), 1u);
  EXPECT_EQ(flow.liveness.live(main, 2, 0), 1u);
  EXPECT_EQ(flow.liveness.live(main, 1, 0), 0u);
  EXPECT_EQ(flow.liveness.live(main, 4, 0), 0u);
}

TEST(StackLiveness, AStoreOfFourBytesCoversNothing) {
  Flow flow(
      "r1 = 1\n"
      "*(u32 *)(r10 -8) = r1\n"
      "r0 = *(u64 *)(r10 -8)\n"
      "exit\n");
  const u32 main = flow.liveness.root(0);
  flow.liveness.read(main, 2, 0, 0);
  EXPECT_EQ(flow.liveness.live(main, 0, 0), 1u);
}

TEST(StackLiveness, ALoopCarriesAReadRound) {
  Flow flow(
      "r1 = 9\n"
      "r2 = *(u64 *)(r10 -16)\n"
      "r1 += -1\n"
      "if r1 != 0 goto pc-3\n"
      "r0 = 0\n"
      "exit\n");
  const u32 main = flow.liveness.root(0);
  flow.liveness.read(main, 1, 0, 1);
  EXPECT_EQ(flow.liveness.live(main, 3, 0), 2u);
  EXPECT_EQ(flow.liveness.live(main, 2, 0), 2u);
  EXPECT_EQ(flow.liveness.live(main, 4, 0), 0u);
}

TEST(StackLiveness, WhatACalleeReadsIsReadByTheCall) {
  Flow flow(
      "r1 = r10\n"
      "*(u64 *)(r10 -8) = r1\n"
      "call pc+2\n"
      "r0 = 0\n"
      "exit\n"
      "r0 = *(u64 *)(r1 -8)\n"
      "exit\n");
  const u32 main = flow.liveness.root(0);
  const u32 callee = flow.liveness.enter(main, 2, 1);
  EXPECT_EQ(flow.liveness.enter(main, 2, 1), callee);
  flow.liveness.read(callee, 5, 0, 0);
  EXPECT_EQ(flow.liveness.live(callee, 5, 0), 1u);
  EXPECT_EQ(flow.liveness.live(callee, 5, 1), 0u);
  EXPECT_EQ(flow.liveness.live(main, 2, 0), 1u);
  EXPECT_EQ(flow.liveness.live(main, 3, 0), 0u);
  EXPECT_EQ(flow.liveness.live(main, 1, 0), 0u);
}

}  // namespace
}  // namespace skep::verify
