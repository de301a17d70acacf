// What the verifier proves of programs, how much it explores for it, and how it says no.
#include "verify/verify.hpp"

#include "verify/test_programs.hpp"

namespace skep::verify {
namespace {

TEST(Verify, TheProofSaysWhatTheEngineNeeds) {
  ObjectSpec object = object_with_maps();
  ProgramSpec program = program_of(object, xdp, PACKET "*(u64 *)(r10 -24) = 0\ncall ktime_get_ns\nr0 = 2\nexit");
  auto outcome = verify(program, object, {});
  ASSERT_TRUE(outcome && outcome->program);
  const VerifiedProgram& proof = *outcome->program;
  ASSERT_EQ(proof.context_loads().size(), 2u);
  EXPECT_EQ(proof.context_loads()[0].insn, 0u);
  EXPECT_EQ(proof.context_loads()[0].offset, 24);
  EXPECT_EQ(proof.context_loads()[1].offset, 32);
  EXPECT_EQ(proof.context_bytes(), 8u);
  EXPECT_GE(proof.stack_bytes(), 24u);
  EXPECT_EQ(proof.helpers(), std::vector<u32>{5});
}

VerifiedProgram proof_of(std::string_view text) {
  ObjectSpec object = object_with_maps();
  ProgramSpec program = program_of(object, kprobe, text);
  auto outcome = verify(program, object, {});
  EXPECT_TRUE(outcome && outcome->program) << explain(outcome->report, program);
  return *outcome->program;
}

TEST(Verify, ProofsSayWhichWaysWereExplored) {
  const auto proofs = proof_of(
                          "r0 = 0\ncall get_prandom_u32\nr0 &= 7\nif r0 > 9 goto dead\nif r0 < 8 goto live\nr0 = 1\n"
                          "exit\nlive: if r0 == 3 goto both\nr0 = 2\nboth: r0 = 0\nexit\ndead: r0 = 9\nexit")
                          .proofs();
  EXPECT_TRUE(proofs[3].jump_passed && !proofs[3].jump_taken);
  EXPECT_TRUE(!proofs[4].jump_passed && proofs[4].jump_taken);
  EXPECT_TRUE(proofs[7].jump_passed && proofs[7].jump_taken);
  for (u32 i : {0u, 3u, 4u, 7u, 8u, 9u, 10u}) EXPECT_TRUE(proofs[i].reached) << i;
  for (u32 i : {5u, 6u, 11u, 12u}) EXPECT_FALSE(proofs[i].reached) << i;
}

TEST(Verify, AWayThatOnlyACoveredPathTakesCountsAsExplored) {
  // The second path meets the first at `meet` and is covered there: both ways of the jump behind it stay.
  const auto proofs = proof_of(
                          "call get_prandom_u32\nr6 = r0\ncall get_prandom_u32\nr7 = 1\nif r0 > 5 goto +2\nr7 = 2\n"
                          "goto +1\nr7 = 3\nmeet: if r6 == 4 goto end\nr6 = 1\nend: r0 = 0\nexit")
                          .proofs();
  EXPECT_TRUE(proofs[8].jump_taken && proofs[8].jump_passed);
}

TEST(Verify, ProofsOfDivisors) {
  const auto divides = [](const char* before, const char* division) {
    const std::string text = std::string("r6 = r1\ncall get_prandom_u32\nr2 = r0\nr3 = 100\n") + before +
                             "\nx: " + division + "\nr0 = 0\nexit";
    const auto program = proof_of(text);
    for (u32 i = 0; i < program.insns().size(); i++) {
      const u8 op = program.insns()[i].code & 0xf7;
      if (op == 0x37 || op == 0x34 || op == 0x97 || op == 0x94) return program.proofs()[i].divisor_nonzero;
    }
    ADD_FAILURE() << "no division in " << text;
    return false;
  };
  EXPECT_FALSE(divides("", "r3 /= r2"));
  EXPECT_TRUE(divides("r2 |= 1", "r3 /= r2"));
  EXPECT_TRUE(divides("if r2 == 0 goto x\nr2 |= 2", "r3 /= 5"));
  EXPECT_TRUE(divides("r2 &= 7\nr2 += 1", "r3 s/= r2"));
  EXPECT_FALSE(divides("r2 |= 1\nr2 <<= 32", "w3 %= w2"));
  EXPECT_TRUE(divides("", "r3 s/= -1"));  // 100 is not the smallest number
  EXPECT_FALSE(divides("r3 = r2\nr3 <<= 40", "r3 s/= -1"));
  // One path has a divisor that may be 0, the other has 5: the number must not be forgotten where they meet.
  EXPECT_FALSE(divides("r4 = 5\nif r0 > 9 goto +2\nr4 = r2\nr4 &= 1\nr5 = 1\nr5 += 1", "r3 /= r4"));
}

TEST(Verify, StackTouchesAreTheUnionOverAllPaths) {
  const auto program = proof_of(
      "r6 = 0\n*(u64 *)(r10 -16) = r6\ncall get_prandom_u32\nr2 = r10\nr2 += -16\nif r0 > 5 goto +1\nr2 += 8\n"
      "*(u8 *)(r2 +0) = 1\nr1 = r10\nr1 += -8\ncall f\nr0 = 0\nexit\n"
      "f: *(u32 *)(r1 +0) = 7\n*(u32 *)(r10 -4) = 9\nr0 = 0\nexit");
  struct Expected {
    u32 insn, function;
    s16 low, high;
    u8 reg;
  };
  std::vector<Expected> found;
  for (const StackTouch& t : program.stack_touches()) found.push_back({t.insn, t.function, t.low, t.high, t.reg});
  const std::vector<Expected> expected = {
      {1, 0, -16, -8, 10}, {7, 0, -16, -7, 2}, {13, 0, -8, -4, 1}, {14, 13, -4, 0, 10}};
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); i++) {
    EXPECT_EQ(found[i].insn, expected[i].insn);
    EXPECT_EQ(found[i].function, expected[i].function);
    EXPECT_EQ(found[i].low, expected[i].low);
    EXPECT_EQ(found[i].high, expected[i].high);
    EXPECT_EQ(found[i].reg, expected[i].reg);
  }
}

TEST(Verify, TheKeyAndTheValueOfAnUpdateAreTwoTouches) {
  const auto program = proof_of(
      "*(u64 *)(r10 -8) = 1\n*(u64 *)(r10 -32) = 2\nr1 = map[counts]\nr2 = r10\nr2 += -8\nr3 = r10\nr3 += -32\n"
      "r4 = 0\ncall map_update_elem\nr0 = 0\nexit");
  std::vector<StackTouch> of_call;
  for (const StackTouch& t : program.stack_touches())
    if (t.insn == 9) of_call.push_back(t);
  ASSERT_EQ(of_call.size(), 2u);
  EXPECT_TRUE(of_call[0].reg == 2 && of_call[0].low == -8 && of_call[0].high == 0);
  EXPECT_TRUE(of_call[1].reg == 3 && of_call[1].low == -32 && of_call[1].high == -24);
}

TEST(Verify, PathsThatDifferInUninterestingNumbersMeet) {
  // Thirty branches, each leaving another number in r7, which nothing depends on: 2^30 paths are one.
  ObjectSpec object = object_with_maps();
  std::string text = "r6 = r1\nr7 = 0\n";
  for (int i = 0; i < 30; i++)
    text += "call get_prandom_u32\nif r0 > 5 goto +2\nr7 += " + std::to_string(i + 1) +
            "\nr8 = r7\n*(u64 *)(r10 -8) = r7\n";
  ProgramSpec program = program_of(object, kprobe, text + RETURN);
  auto outcome = verify(program, object, {});
  ASSERT_TRUE(outcome.has_value());
  EXPECT_TRUE(outcome->report.accepted) << explain(outcome->report, program);
  EXPECT_LT(outcome->report.insns_processed, 1000u);
}

TEST(Verify, TheMaskOfASignIsOneOfTwoNumbers) {
  // r6 is 0 or -1, so r6 & -16 is 0 or -16, as a program that returns an error code or nothing computes it.
  const std::string text =
      "call get_prandom_u32\nr6 = r0\nr6 s>>= 63\nr6 &= -16\nif r6 == 0 goto end\n"
      "r6 += 16\nif r6 != 0 goto other\nend: " RETURN "other: r0 = *(u64 *)(r6 +0)\n" RETURN;
  EXPECT_TRUE(judge({"", kprobe, text.c_str()}).accepted);
  const std::string narrow =
      "call get_prandom_u32\nw6 = w0\nw6 s>>= 31\nw6 |= 5\nif w6 == 5 goto end\n"
      "w6 += 1\nif w6 != 0 goto other\nend: " RETURN "other: r0 = *(u64 *)(r6 +0)\n" RETURN;
  EXPECT_TRUE(judge({"", kprobe, narrow.c_str()}).accepted);
}

TEST(Verify, APartOfASpilledNumberOverwrittenLeavesBytes) {
  // Byte -1 was stored as 0, and stays that by our rules; Linux forgets it with the number in the slot's low half.
  const std::string text =
      "call get_prandom_u32\n*(u32 *)(r10 -4) = 0\n*(u32 *)(r10 -8) = r0\n*(u8 *)(r10 -6) = r0\n"
      "r7 = *(u8 *)(r10 -1)\nif r7 == 0 goto end\nr0 = *(u64 *)(r7 +0)\nend: " RETURN;
  ObjectSpec object = object_with_maps();
  const ProgramSpec program = program_of(object, kprobe, text);
  for (const Rules rules : {Rules::user, Rules::kernel}) {
    Options options;
    options.rules = rules;
    auto outcome = verify(program, object, options);
    ASSERT_TRUE(outcome.has_value());
    EXPECT_EQ(outcome->report.accepted, rules == Rules::user) << explain(outcome->report, program);
  }
}

TEST(Verify, NumbersThatDecideKeepPathsApart) {
  // r7 is 0 or 8 by a branch long before it is an offset: forgetting it would accept a write past the value.
  Case c{"outside_region", kprobe,
         "r6 = 0\ncall get_prandom_u32\nr7 = 0\nif r0 == 1 goto meet\nr7 = 8\nmeet: r8 = 1\nr8 += 2\nr9 = r8\nr9 += 1\n"
         "if r0 > 77 goto more\nr9 += 1\nmore: if r0 > 99 goto later\nr9 += 2\nlater: " LOOKUP(
             "counts") "if r0 == 0 goto end\nr0 += r7\n*(u64 *)(r0 +0) = 1\nend: " RETURN};
  Report report = judge(c);
  ASSERT_TRUE(report.rejection.has_value());
  EXPECT_EQ(report.rejection->id, c.refused);
}

TEST(Verify, AnInsertionSortMeetsItselfAgain) {
  // How far a word moves depends on the words: 32 of them are sorted in about 500 ways to be in both loops, if a slot
  // that was written as a word and one that was written as half of a slot are taken for the same thing.
  const char* sort =
      "r7 = 0\nfill: call get_prandom_u32\nr4 = r10\nr4 += -128\nr4 += r7\n*(u32 *)(r4 +0) = r0\nr7 += 4\nif r7 != 128 "
      "goto fill\nr1 = 1\n"
      "outer: r3 = r1\nr3 <<= 2\nr4 = r10\nr4 += -128\nr4 += r3\nr3 = *(u32 *)(r4 +0)\nr4 = r1\n"
      "inner: r5 = r4\nr5 += -1\nr0 = r5\nr0 <<= 2\nr6 = r10\nr6 += -128\nr6 += r0\nr0 = *(u32 *)(r6 +0)\nif r3 >= r0 "
      "goto place\n*(u32 *)(r6 +4) = r0\nr4 = r5\nif r4 != 0 goto inner\n"
      "place: r4 <<= 2\nr5 = r10\nr5 += -128\nr5 += r4\n*(u32 *)(r5 +0) = r3\nr1 += 1\nif r1 != 32 goto outer\n" RETURN;
  Report report = judge({"", kprobe, sort});
  EXPECT_TRUE(report.accepted);
  EXPECT_LT(report.insns_processed, 60'000u);
}

TEST(Verify, EndsWithinItsLimits) {
  // The counter comes from outside: each of its values is another state.
  ObjectSpec object = object_with_maps();
  ProgramSpec program = program_of(
      object, kprobe, "r6 = *(u64 *)(r1 +0)\nr6 &= 0xffffff\nloop: r6 += 1\nif r6 != 0x2000000 goto loop\n" RETURN);
  Options options;
  options.max_insns_processed = 50'000;
  auto outcome = verify(program, object, options);
  ASSERT_TRUE(outcome && outcome->report.rejection);
  EXPECT_NE(outcome->report.rejection->reason.find("50000 instructions"), std::string::npos);
  options.max_insns_processed = 0;
  options.max_state_bytes = 1 << 20;
  outcome = verify(program, object, options);
  ASSERT_TRUE(outcome && outcome->report.rejection);
  EXPECT_NE(outcome->report.rejection->reason.find("1 MiB of states"), std::string::npos);
}

TEST(Explain, SaysWhereWhyAndWhatToDo) {
  ObjectSpec object = object_with_maps();
  ProgramSpec program = program_of(object, kprobe, LOOKUP("counts") "r6 = r0\nr1 = *(u64 *)(r6 +0)\n" RETURN);
  program.name = "count";
  program.lines = {{0, "count.bpf.c", "  v = bpf_map_lookup_elem(&counts, &key);", 12, 7},
                   {7, "count.bpf.c", "  total += *v;", 14, 12}};
  auto outcome = verify(program, object, {});
  ASSERT_TRUE(outcome && outcome->report.rejection);
  std::string text = explain(outcome->report, program);
  for (const char* part : {"count.bpf.c:14:12", "total += *v;", "maybe_null", "map value of counts", "or null",
                           "map_lookup_elem", "count.bpf.c:12", "if (!p) return 0;"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " is missing in:\n" << text;
  EXPECT_LE(std::count(text.begin(), text.end(), '\n'), 25);
}

TEST(Explain, NamesWhatMadeAPointerInvalid) {
  ObjectSpec object = object_with_maps();
  ProgramSpec program =
      program_of(object, kprobe,
                 RESERVE
                 "if r0 == 0 goto end\nr6 = r0\nr1 = r0\nr2 = 0\ncall ringbuf_submit\nr1 = *(u64 *)(r6 "
                 "+0)\nend: " RETURN);
  auto outcome = verify(program, object, {});
  ASSERT_TRUE(outcome && outcome->report.rejection);
  EXPECT_NE(outcome->report.rejection->cause.find("instruction 9 (call bpf_ringbuf_submit"), std::string::npos)
      << outcome->report.rejection->cause;
  program =
      program_of(object, tc,
                 "r6 = r1\nr7 = *(u32 *)(r1 +76)\nr8 = *(u32 *)(r1 +80)\nr2 = r7\nr2 += 14\nif r2 > r8 goto end\nr1 "
                 "= r6\nr2 = 64\ncall skb_pull_data\nr1 = *(u8 *)(r7 +0)\nend: " RETURN);
  outcome = verify(program, object, {});
  ASSERT_TRUE(outcome && outcome->report.rejection);
  EXPECT_NE(outcome->report.rejection->cause.find("instruction 8 (call bpf_skb_pull_data"), std::string::npos)
      << outcome->report.rejection->cause;
}

TEST(Prototypes, EveryHelperHasOne) {
  EXPECT_EQ(catalog::prototypes().size(), catalog::helpers().size());
  for (const auto& p : catalog::prototypes())
    for (std::size_t a = 0; a < p.args.size(); a++) {
      bool sized = p.args[a] == catalog::Arg::size || p.args[a] == catalog::Arg::size_or_zero;
      if (sized) {
        EXPECT_GT(a, 0u) << catalog::helper(static_cast<u32>(p.id))->name;
      }
    }
}

TEST(Verify, FollowsWhatMattersBackToTheLastRoundOnly) {
  // In every round the way out is looked at first, gets the checkpoints, and is done with them. The loop must have
  // some, too: else what decides on the way out is followed back through all the rounds before.
  const ObjectSpec object = object_with_maps();
  const ProgramSpec program = program_of(
      object, kprobe,
      "r6 = 0\nloop: r6 += 1\ncall get_prandom_u32\nif r0 <= 5 goto loop\nif r6 > 33 goto on\nr0 = 1\non: call "
      "get_prandom_u32\nif r0 > 44 goto l\nr7 = 31\nl: r0 = 0\ncall get_prandom_u32\nif r0 > 15 goto m\nr7 = 1\nm: r0 "
      "= "
      "0\nexit\n");
  const auto time_of = [&](u32 insns) {
    Options options;
    options.max_insns_processed = options.insns_before_joining = insns;
    const auto outcome = verify(program, object, options);
    EXPECT_TRUE(outcome && outcome->report.rejection && outcome->report.rejection->id == "too_complex");
    return outcome ? outcome->report.time_ns : 0;
  };
  constexpr u32 few = 12'500, times = 8;
  EXPECT_LT(time_of(times * few), 3 * times * time_of(few));  // rounds times rounds would be times * times
}

}  // namespace
}  // namespace skep::verify
