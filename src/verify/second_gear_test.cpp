// Programs that are proved with joined paths, and what a wrong join, a wrong bound or a wrong counter would accept.
//
// Every program is verified with paths joined from the start. What is refused here is refused by following its paths:
// the second gear has to give up on it.
#include <fmt/format.h>

#include "verify/loops.hpp"
#include "verify/test_programs.hpp"

namespace skep::verify {
namespace {

Report judge_joined(const Case& c, Rules rules = Rules::user) { return judge(c, rules, true); }

/// `while (lo < hi) { middle; if (...) up; else down; }` with lo in r6, hi in r7, and what is between in r8.
#define SEARCH(middle, up, down)                                                                            \
  "r6 = 0\nr7 = 1000\nloop: if r6 >= r7 goto end\n" middle "call get_prandom_u32\nif r0 > 7 goto up\n" down \
  "goto "                                                                                                   \
  "loop\nup: " up "goto loop\nend: " RETURN

constexpr Case proved[] = {
    // More rounds than anyone follows, how many is not known.
    {"", kprobe,
     "r6 = *(u64 *)(r1 +112)\nr6 &= 0xfffff\nr7 = 0\nr8 = 0\nloop: r8 *= 31\nr8 ^= r7\nr7 += 1\nif r7 < r6 "
     "goto loop\n" RETURN},
    {"", kprobe, "r6 = *(u64 *)(r1 +112)\nw6 &= 0xffff\nloop: w6 += -3\nif w6 s> 0 goto loop\n" RETURN},
    // The counter lives in the stack.
    {"", kprobe,
     "*(u64 *)(r10 -8) = 0\nloop: call get_prandom_u32\nr1 = *(u64 *)(r10 -8)\nr1 += 1\n*(u64 *)(r10 -8) = "
     "r1\nif r1 < 5000 goto loop\n" RETURN},
    // On one way it moves by one, on the other by two.
    {"", kprobe,
     "r6 = 0\nloop: call get_prandom_u32\nif r0 > 7 goto +1\nr6 += 1\nr6 += 1\nif r6 < 5000 goto loop\n" RETURN},
    // An array walked with a pointer, counted with a number: 64 words of stack, from below and from above.
    {"", kprobe,
     "r2 = r10\nr2 += -512\nr3 = 0\nloop: *(u64 *)(r2 +0) = 0\nr2 += 8\nr3 += 1\nif r3 < 64 goto loop\n" RETURN},
    {"", kprobe, "r2 = r10\nr3 = 64\nloop: r2 += -8\n*(u64 *)(r2 +0) = 0\nr3 += -1\nif r3 s> 0 goto loop\n" RETURN},
    // Loops in each other, the inner one from where the outer one is.
    {"", kprobe,
     "r6 = 0\nouter: r7 = r6\ninner: r7 += 1\nif r7 < 500 goto inner\nr6 += 1\nif r6 < 500 goto outer\n" RETURN},
    // The low bits of a number that grows by an odd one take every value.
    {"", kprobe, "r7 = *(u16 *)(r1 +0)\nloop: r7 += 447767737\nif r7 & 0x702000 goto loop\n" RETURN},
    // Binary search for a number in 0 to 999, as compilers write it: the middle as (lo + hi) / 2 of 64 and of 32 bits
    // and with a sign; compared at the head and at the end of a round; without 32-bit
    // arithmetic.
    {"", kprobe, SEARCH("r8 = r6\nr8 += r7\nr8 >>= 1\n", "r6 = r8\nr6 += 1\n", "r7 = r8\n")},
    {"", kprobe, SEARCH("w8 = w6\nw8 += w7\nw8 >>= 1\n", "w6 = w8\nw6 += 1\n", "w7 = w8\n")},
    {"", kprobe,
     SEARCH("w8 = w6\nw8 += w7\nw1 = w8\nw1 >>= 31\nw8 += w1\nw8 s>>= 1\n", "r6 = r8\nr6 += 1\n", "r7 = r8\n")},
    {"", kprobe, SEARCH("r8 = r6\nr8 += r7\nr8 <<= 32\nr8 >>= 33\n", "r8 += 1\nr6 = r8\n", "r7 = r8\n")},
    {"", kprobe,
     "r6 = 0\nr7 = 1000\nloop: r8 = r6\nr8 += r7\nr8 >>= 1\ncall get_prandom_u32\nif r0 > 7 goto up\nr7 = r8\ngoto "
     "on\nup: r8 += 1\nr6 = r8\non: if r6 < r7 goto loop\n" RETURN},
    // The last index counts: `while (lo <= hi)`, with hi = mid - 1; the upper middle, with lo = mid.
    {"", kprobe,
     "w6 = 0\nw7 = 999\nloop: if w6 s> w7 goto end\nw8 = w6\nw8 += w7\nw8 >>= 1\ncall get_prandom_u32\nif r0 > 7 goto "
     "up\nw7 = w8\nw7 += -1\ngoto loop\nup: w6 = w8\nw6 += 1\ngoto loop\nend: " RETURN},
    {"", kprobe, SEARCH("r8 = r6\nr8 += r7\nr8 += 1\nr8 >>= 1\n", "r6 = r8\n", "r8 += -1\nr7 = r8\n")},
    // Both in the stack; the middle, too, across a call that gets its address.
    {"", kprobe,
     "*(u64 *)(r10 -16) = 0\n*(u64 *)(r10 -24) = 1000\nloop: r1 = *(u64 *)(r10 -16)\nr2 = *(u64 *)(r10 -24)\nif r1 >= "
     "r2 "
     "goto end\nr1 += r2\nr1 >>= 1\n*(u64 *)(r10 -32) = r1\n*(u32 *)(r10 -8) = r1\nr1 = map[many]\nr2 = r10\nr2 += "
     "-8\ncall map_lookup_elem\nr1 = *(u64 *)(r10 -32)\nif r0 == 0 goto up\n*(u64 *)(r10 -24) = r1\ngoto loop\nup: r1 "
     "+= "
     "1\n*(u64 *)(r10 -16) = r1\ngoto loop\nend: " RETURN},
    // Two ends that walk towards each other, by one or by two.
    {"", kprobe, SEARCH("", "r6 += 1\n", "r7 += -2\n")},
    // One end walks back with the other, which does so a thousand times at most.
    {"", kprobe, SEARCH("", "r6 += 1\n", "r7 += -1\nr6 += -1\n")},
    // A pointer or null, told apart later.
    {"", kprobe,
     LOOKUP(
         "table") "*(u64 *)(r10 -16) = 0\nif r0 == 0 goto on\n*(u64 *)(r10 -16) = r0\non: call "
                  "get_prandom_u32\nr1 = *(u64 *)(r10 -16)\nif r1 == 0 goto end\nr2 = *(u64 *)(r1 +40)\nend: " RETURN},
    // Few rounds of which each is its own: a stride that no bound and no bit shows.
    {"", kprobe,
     LOOKUP("table") "if r0 == 0 goto end\nr6 = 0\nloop: r1 = r0\nr1 += r6\nr2 = *(u8 *)(r1 +0)\nr6 += 12\nif "
                     "r6 != 48 goto loop\nend: " RETURN},
};

constexpr Case refused[] = {
    // One round, or one step, too far.
    {"stack_out_of_bounds", kprobe,
     "r2 = r10\nr2 += -512\nr3 = 0\nloop: *(u64 *)(r2 +0) = 0\nr2 += 8\nr3 += 1\nif r3 < 65 goto loop\n" RETURN},
    {"stack_out_of_bounds", kprobe,
     "r2 = r10\nr3 = 64\nloop: r2 += -8\n*(u64 *)(r2 +0) = 0\nr3 += -1\nif r3 s>= 0 goto loop\n" RETURN},
    {"outside_region", kprobe,
     LOOKUP("table") "if r0 == 0 goto end\nr6 = 0\nloop: r1 = r0\nr1 += r6\nr2 = *(u8 *)(r1 +0)\nr6 += 1\nif r6 <= 48 "
                     "goto loop\nend: " RETURN},
    // The pointer leaves step with the counter on one way round.
    {"stack_out_of_bounds", kprobe,
     "r6 = r10\nr6 += -512\nr7 = 0\nloop: *(u64 *)(r6 +0) = 0\ncall get_prandom_u32\nr6 += 8\nif r0 > 7 goto +1\nr6 += "
     "8\nr7 += 1\nif r7 < 64 goto loop\n" RETURN},
    // A bound, an equality, a pointer, bytes of a packet: known on one of two ways only.
    {"outside_region", kprobe,
     LOOKUP(
         "table") "if r0 == 0 goto end\nr6 = r0\ncall get_prandom_u32\nr7 = r0\ncall get_prandom_u32\nif r0 > 7 goto "
                  "on\nif r7 > 40 goto end\non: if r7 > 1000 goto end\nr6 += r7\nr2 = *(u64 *)(r6 +0)\nend: " RETURN},
    {"outside_region", kprobe,
     LOOKUP("table") "if r0 == 0 goto end\nr6 = r0\ncall ktime_get_ns\nr7 = r0\ncall ktime_get_ns\nr8 = r0\nif r0 > 7 "
                     "goto on\nr8 = r7\non: if r8 > 40 goto end\nr7 &= 0xffffff\nr6 += r7\nr2 = *(u64 *)(r6 "
                     "+0)\nend: " RETURN},
    {"not_a_pointer", kprobe,
     LOOKUP(
         "table") "if r0 == 0 goto end\nr6 = r0\ncall get_prandom_u32\nif r0 > 7 goto on\nr6 = 8\non: r2 = *(u64 *)(r6 "
                  "+0)\nend: " RETURN},
    {"packet_out_of_bounds", xdp,
     "r6 = *(u32 *)(r1 +0)\nr7 = *(u32 *)(r1 +4)\ncall get_prandom_u32\nif r0 > 7 goto on\nr4 = r6\nr4 += 14\nif r4 > "
     "r7 "
     "goto end\non: r5 = *(u16 *)(r6 +12)\nend: r0 = 2\nexit"},
    {"maybe_null", kprobe,
     LOOKUP("table") "r6 = r0\ncall get_prandom_u32\nif r0 > 7 goto on\nif r6 == 0 goto end\non: r2 = *(u64 *)(r6 "
                     "+0)\nend: " RETURN},
    // A reference that one way takes, and one that one way gives back.
    {"reference_leak", kprobe, "call get_prandom_u32\nif r0 > 7 goto on\n" RESERVE "on: " RETURN},
    {"reference_leak", kprobe,
     RESERVE "if r0 == 0 goto end\nr6 = r0\ncall get_prandom_u32\nif r0 > 7 goto end\nr1 = r6\nr2 = 0\ncall "
             "ringbuf_submit\nend: " RETURN},
    {"reference_leak", kprobe, "r6 = 0\nloop: " RESERVE "r6 += 1\nif r6 < 100 goto loop\n" RETURN},
};

/// An iterator that each round makes anew always has one more.
#define ITERATOR "r1 = r10\nr1 += -24\n"
#define MADE ITERATOR "r2 = 0\nr3 = 9\ncall iter_num_new\n"
constexpr const char* iterator_made_anew =
    MADE "loop: " ITERATOR "call iter_num_next\nif r0 == 0 goto end\n" ITERATOR "call iter_num_destroy\n" MADE
         "goto loop\nend: " ITERATOR "call iter_num_destroy\n" RETURN;
constexpr const char* iterator_in_a_loop_of_another =
    MADE "loop: " ITERATOR
         "call iter_num_next\nif r0 == 0 goto end\n"
         "r1 = r10\nr1 += -40\nr2 = 0\nr3 = 9\ncall iter_num_new\n"
         "inner: r1 = r10\nr1 += -40\ncall iter_num_next\nif r0 != 0 goto inner\n"
         "r1 = r10\nr1 += -40\ncall iter_num_destroy\ngoto loop\nend: " ITERATOR "call iter_num_destroy\n" RETURN;

constexpr Case endless[] = {
    {"", kprobe, "r0 = 0\nloop: r0 += 1\nif r0 != -1 goto loop\nexit"},           // 2^64 rounds
    {"", kprobe, "r6 = 0\nloop: r6 += 1\nif r6 < 0x1000001 goto loop\n" RETURN},  // more than bpf_loop gives
    {"", kprobe, "r6 = 0\nloop: r6 += 3\nif r6 != 1000 goto loop\n" RETURN},      // steps over the end
    {"", kprobe, "r6 = 5\nloop: r6 += 1\nif w6 != 4 goto loop\n" RETURN},         // comes round at 2^32
    {"", kprobe,
     "r6 = 0\nloop: call get_prandom_u32\nif r0 > 7 goto on\nr6 += 2\non: r6 += -1\nif r6 s< 100 goto "
     "loop\n" RETURN},  // may go back and forth
    {"", kprobe, "r6 = 0\nloop: call get_prandom_u32\nif r0 > 7 goto loop\nr6 += 1\nif r6 < 100 goto loop\n" RETURN},
    {"", kprobe,
     "r6 = 0\nouter: r7 = 0\ninner: r7 += 1\nif r7 < 100 goto inner\ncall get_prandom_u32\nif r0 > 7 goto "
     "outer\n" RETURN},  // only the inner one ends
    {"", kprobe,
     "r6 = 0\nloop: call get_prandom_u32\nif r0 < 9 goto on\nr6 = 0\non: r6 += 1\nif r6 < 100 goto loop\n" RETURN},
    {"", kprobe, "r7 = *(u16 *)(r1 +0)\nloop: r7 += 2\nif r7 & 0x701 goto loop\n" RETURN},  // an odd number stays odd
    {"", kprobe,
     "r7 = *(u16 *)(r1 +0)\nloop: r7 += 1\nif r7 & 0x2000 goto on\nexit\non: call get_prandom_u32\nif r0 > 7 "
     "goto +1\nr7 += -1\nr7 += 0\nr0 = 0\ngoto loop\n"},  // once it moves, once not
    {"", kprobe,
     "*(u64 *)(r10 -8) = 0\nloop: call get_prandom_u32\nr2 = r10\nr2 += -16\nr0 &= 8\nr2 += r0\n*(u64 *)(r2 +0) "
     "= 0\nr1 = *(u64 *)(r10 -8)\nr1 += 1\n*(u64 *)(r10 -8) = r1\nif r1 < 5000 goto loop\n" RETURN},
    // The stack's address does not move, whatever is counted in the slot at its end.
    {"", kprobe,
     "*(u64 *)(r10 -8) = 0\nloop: r1 = *(u64 *)(r10 -8)\nr1 += 1\n*(u64 *)(r10 -8) = r1\nif r10 & 0x700 goto "
     "loop\n" RETURN},
    {"", kprobe,
     "*(u64 *)(r10 -8) = 0\nloop: w2 = w10\nr2 += 1\nif w2 > 0x7fffff goto end\n*(u64 *)(r10 -8) = r2\ngoto "
     "loop\nend: " RETURN},
    {"", kprobe,
     "*(u64 *)(r10 -8) = 0\nloop: r2 = (s32)r10\nr2 += 1\nif r2 s> 0x7fffff goto end\nif r2 s< 0 goto end\n*(u64 "
     "*)(r10 -8) = r2\ngoto loop\nend: " RETURN},
    // A number that went through a slot, which something else wrote to meanwhile.
    {"", kprobe,
     "r6 = 0\nloop: r6 += 1\n*(u64 *)(r10 -8) = r6\ncall get_prandom_u32\nr0 &= 7\nr2 = r10\nr2 += -8\n*(u64 *)(r2 +0) "
     "= r0\nr6 = *(u64 *)(r10 -8)\nif r6 < 100 goto loop\n" RETURN},
    {"", kprobe,
     "r6 = 0\nloop: r6 += 1\n*(u64 *)(r10 -8) = r6\nr1 = r10\nr1 += -8\nr2 = 8\nr3 = r10\ncall probe_read\nr6 = *(u64 "
     "*)(r10 -8)\nif r6 < 100 goto loop\n" RETURN},
    // Bounds that need not close in: lo = mid; hi = mid of the upper middle; neither moves on one way; both move alike;
    // a quarter; half of the gap; compared with something else; below zero without a sign.
    {"", kprobe, SEARCH("r8 = r6\nr8 += r7\nr8 >>= 1\n", "r6 = r8\n", "r7 = r8\n")},
    {"", kprobe, SEARCH("r8 = r6\nr8 += r7\nr8 += 1\nr8 >>= 1\n", "r6 = r8\n", "r7 = r8\n")},
    {"", kprobe, SEARCH("r8 = r6\nr8 += r7\nr8 >>= 1\n", "r6 = r8\nr6 += 1\n", "r7 = r8\nr7 += 1\n")},
    {"", kprobe, SEARCH("r8 = r6\nr8 += r7\nr8 >>= 1\n", "r6 = r8\nr6 += 1\n", "r7 += 0\n")},
    {"", kprobe, SEARCH("", "r6 += 1\nr7 += 1\n", "r7 += -1\n")},
    {"", kprobe, SEARCH("", "r6 += 1\nr7 += 1\n", "r7 += -1\nr6 += -1\n")},
    {"", kprobe, SEARCH("r8 = r6\nr8 += r7\nr8 >>= 2\n", "r6 = r8\nr6 += 1\n", "r7 = r8\n")},
    {"", kprobe, SEARCH("r8 = r7\nr8 -= r6\nr8 >>= 1\n", "r6 = r8\nr6 += 1\n", "r7 = r8\n")},
    {"", kprobe,
     "r6 = 0\nr7 = 1000\nr9 = *(u64 *)(r1 +112)\nr9 &= 0xfff\nloop: if r6 >= r9 goto end\nr8 = r6\nr8 += r7\nr8 >>= "
     "1\ncall "
     "get_prandom_u32\nif r0 > 7 goto up\nr7 = r8\ngoto loop\nup: r6 = r8\nr6 += 1\ngoto loop\nend: " RETURN},
    {"", kprobe,
     "w6 = 0\nw7 = 999\nloop: if w6 > w7 goto end\nw8 = w6\nw8 += w7\nw8 >>= 1\ncall get_prandom_u32\nif r0 > 7 goto "
     "up\nw7 = w8\nw7 += -1\ngoto loop\nup: w6 = w8\nw6 += 1\ngoto loop\nend: " RETURN},  // w7 comes round below 0
    {"", kprobe, iterator_made_anew},
};

TEST(second_gear, proves) {
  for (const Case& c : proved) {
    const Report report = judge_joined(c);
    EXPECT_TRUE(report.accepted && report.joined) << c.text << (report.rejection ? report.rejection->reason : "");
    EXPECT_LT(report.insns_processed, 100'000u) << c.text;
  }
}

TEST(second_gear, refuses_what_paths_refuse) {
  for (const Case& c : refused) {
    const Report report = judge_joined(c);
    EXPECT_FALSE(report.accepted) << c.text;
    if (report.rejection) {
      EXPECT_EQ(report.rejection->id, c.refused) << c.text << report.rejection->reason;
    }
  }
}

TEST(second_gear, needs_a_reason_for_every_loop_to_end) {
  for (const Case& c : endless) EXPECT_FALSE(judge_joined(c).accepted) << c.text;
}

TEST(iterators, end_a_loop_only_where_they_are_not_made_anew) {
  for (const Rules rules : {Rules::user, Rules::strict}) {
    EXPECT_FALSE(judge({"", kprobe, iterator_made_anew}, rules).accepted);
    EXPECT_TRUE(judge({"", kprobe, iterator_in_a_loop_of_another}, rules).accepted);
  }
  EXPECT_TRUE(judge({"", kprobe, iterator_made_anew}, Rules::kernel).accepted) << "as Linux 6.18 does";
}

TEST(second_gear, stack_written_on_one_way_is_not_written) {
  const Case c{"", kprobe,
               "call get_prandom_u32\nif r0 > 7 goto on\n*(u64 *)(r10 -8) = 1\non: r1 = *(u64 *)(r10 -8)\n" RETURN};
  EXPECT_FALSE(judge_joined(c, Rules::strict).accepted);
  EXPECT_TRUE(judge_joined(c).accepted);  // as an unknown number
}

TEST(second_gear, proves_sorts_that_no_path_can_follow) {
  // 32 and 64 words of stack, as a compiler writes `while (j > 0 && a[j - 1] > key)`: the store goes through a pointer
  // (r4) that walks beside the index (r5), and only the index is compared.
  for (const u32 words : {32u, 64u}) {
    const u32 below = 8 * words;
    const std::string text = fmt::format(
        "r7 = 0\nfill: call ktime_get_ns\nr4 = r10\nr4 += -{0}\nr4 += r7\n*(u64 *)(r4 +0) = r0\nr7 += 8\nif r7 != {0} "
        "goto fill\nr1 = 1\nr2 = r10\nr2 += -{1}\ngoto outer\n"
        "inner: r5 += -1\nr0 = r5\nr0 <<= 32\nr0 >>= 32\nr0 <<= 3\nr7 = r10\nr7 += -{0}\nr7 += r0\nr7 = *(u64 *)(r7 "
        "+0)\nr0 = r6\nif r7 <= r3 goto place\n*(u64 *)(r4 +0) = r7\nr0 = 0\nr4 += -8\nr7 = r5\nr7 += 1\nr6 = r5\nif "
        "r7 "
        "s> 1 goto inner\n"
        "place: r0 <<= 32\nr0 s>>= 29\nr4 = r10\nr4 += -{0}\nr4 += r0\n*(u64 *)(r4 +0) = r3\nr2 += 8\nr1 += 1\nif r1 "
        "== {2} goto end\n"
        "outer: r3 = r1\nr3 <<= 3\nr4 = r10\nr4 += -{0}\nr4 += r3\nr3 = *(u64 *)(r4 +0)\nr4 = r2\nr6 = r1\nr5 = r6\n"
        "goto inner\nend: r0 = 0\nexit\n",
        below, below - 8, words);
    const Report report = judge({"", kprobe, text.c_str()});
    EXPECT_TRUE(report.accepted && report.joined) << (report.rejection ? report.rejection->reason : "");
    EXPECT_LT(report.insns_processed, 80'000u);
  }
}

TEST(second_gear, leaves_the_kernels_rules_alone) {
  for (const Case& c : proved) EXPECT_FALSE(judge_joined(c, Rules::kernel).joined);
}

TEST(loops, are_found_with_their_heads_and_in_order) {
  const ObjectSpec object = object_with_maps();
  // 0: r6 = 0, 1: outer head, 2: inner head, 3: back to 2, 4, 5: back to 1, 6 and 7: behind both
  const ProgramSpec program = program_of(
      object, kprobe,
      "r6 = 0\nouter: r7 = r6\ninner: r7 += 1\nif r7 < 9 goto inner\nr6 += 1\nif r6 < 9 goto outer\n" RETURN);
  Analysis analysis;
  ASSERT_FALSE(analyse(program, nullptr, true, analysis));
  const Loops found = find_loops(program, analysis, {});
  ASSERT_EQ(found.loops.size(), 2u);
  EXPECT_EQ(found.loops[0].head, 1u);
  EXPECT_EQ(found.loops[0].body, (std::vector<u32>{1, 2, 3, 4, 5}));
  EXPECT_EQ(found.loops[0].outer, -1);
  EXPECT_EQ(found.loops[1].head, 2u);
  EXPECT_EQ(found.loops[1].body, (std::vector<u32>{2, 3}));
  EXPECT_EQ(found.loops[1].outer, 0);
  EXPECT_EQ(found.position, (std::vector<u32>{0, 1, 2, 3, 4, 5, 6, 7}));
}

}  // namespace
}  // namespace skep::verify
