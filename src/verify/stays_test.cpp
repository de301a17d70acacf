// Loops that end by themselves, by the kernel's rules: as many instructions as Linux 6.18 processes, and right where it
// is not.
#include "verify/test_programs.hpp"

namespace skep::verify {
namespace {

constexpr ProgramType kprobe = ProgramType::kprobe;

Report judged(const std::string& text) {
  const ObjectSpec object = object_with_maps();
  const auto outcome = verify(program_of(object, kprobe, text), object, {.rules = Rules::kernel});
  EXPECT_TRUE(outcome) << text;
  return outcome ? outcome->report : Report{};
}

/// bpf_loop over a callback that, by chance, takes what the context holds as an offset into a value of 48 bytes
/// (`use`), or does `otherwise`. The state behind both is remembered; its marks are complete only when the loop is
/// done, since the use is looked at last.
std::string looped(const std::string& otherwise) {
  std::string padding;
  for (int i = 0; i < 8; i++) padding += "r1 = 1\n";
  return "*(u32 *)(r10 -28) = 0\nr1 = map[table]\nr2 = r10\nr2 += -28\ncall map_lookup_elem\nif r0 == 0 goto end\n"
         "*(u64 *)(r10 -16) = r0\nr1 = 0\n*(u64 *)(r10 -24) = r1\n*(u64 *)(r10 -8) = r1\n"
         "r1 = 10\nr2 = subprog[f]\nr3 = r10\nr3 += -24\nr4 = 0\ncall loop\nend: r0 = 0\nexit\n"
         "f: r6 = r2\ncall get_prandom_u32\nif r0 != 0 goto use\ncall get_prandom_u32\nif r0 != 0 goto other\n"
         "back: r0 = 0\n" +
         padding +
         "r0 = 0\nexit\n"
         "use: r1 = *(u64 *)(r6 +0)\nr2 = *(u64 *)(r6 +8)\nr2 += r1\nr0 = *(u8 *)(r2 +0)\nr0 = 0\nexit\n"
         "other: " +
         otherwise + "goto back\n";
}

TEST(Stays, StatesOfACallbacksLoopAreTrustedAsInLinux) {
  const Report report = judged(looped("r1 = 1000\n*(u64 *)(r6 +16) = r1\n"));
  EXPECT_TRUE(report.accepted);
  EXPECT_EQ(report.insns_processed, 46u);  // Linux 6.18.44
}

TEST(Stays, WhatWasTrustedIsLookedAtAgain) {
  // Linux 6.18.44 accepts it, and would read behind the value.
  const Report outside = judged(looped("r1 = 1000\n*(u64 *)(r6 +0) = r1\n"));
  ASSERT_FALSE(outside.accepted);
  EXPECT_GT(outside.insns_processed, 46u) << "explored again, without trust";
}

TEST(Stays, AnEqualityThatNothingSharesKeepsNoStatesApart) {
  const Report report = judged(
      "*(u32 *)(r10 -4) = 0\nr1 = map[table]\nr2 = r10\nr2 += -4\ncall map_lookup_elem\nif r0 == 0 goto end\n"
      "r1 = *(u32 *)(r0 +0)\nif w1 > 39 goto end\n"
      "again: may_goto end\nr2 = r1\nr3 = r0\nr3 += r2\n*(u8 *)(r3 +0) = r1\nr1 += 1\nif r1 < 40 goto again\n"
      "end: r0 = 0\nexit");
  EXPECT_TRUE(report.accepted);
  EXPECT_EQ(report.insns_processed, 22u);  // Linux 6.18.44
}

TEST(Stays, TheIndexOfATailCallKeepsStatesApart) {
  const Report report = judged(
      "r6 = r1\ncall get_prandom_u32\nr4 = r0\nr1 = r6\nw3 = 1\nw2 = 1\nif w4 == 5678 goto low\nw2 = 0\nlow: if w4 == "
      "1234 goto "
      "call\nw2 <<= 1\nw3 = w2\ncall: r2 = map[jumps]\ncall tail_call\nr0 = 0\nexit");
  EXPECT_TRUE(report.accepted);
  EXPECT_EQ(report.insns_processed, 25u);  // Linux 6.18.44
}

TEST(Stays, WhatADifferenceOfPointersRestsOnIsNotFollowed) {
  // Linux looks for a number in r6, meets the store, and takes all numbers for needed: r9 keeps the two paths apart.
  std::string text =
      "*(u32 *)(r10 -4) = 0\nr1 = map[table]\nr2 = r10\nr2 += -4\ncall map_lookup_elem\nif r0 == 0 goto end\nr6 = r0\n"
      "call get_prandom_u32\nr9 = 1\nif r0 != 0 goto met\nr9 = 2\ncall get_prandom_u32\ncall get_prandom_u32\n";
  for (int i = 0; i < 7; i++) text += "r1 = 1\n";
  text +=
      "met: *(u8 *)(r6 +0) = 0\nr8 = r6\nr8 += 4\nr8 -= r6\nr8 &= 7\nr6 += r8\n*(u8 *)(r6 +0) = r9\nend: r0 = 0\nexit";
  const Report report = judged(text);
  EXPECT_TRUE(report.accepted);
  EXPECT_EQ(report.insns_processed, 38u);  // Linux 6.18.44
}

}  // namespace
}  // namespace skep::verify
