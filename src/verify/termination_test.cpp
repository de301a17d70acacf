// Programs that never end, or that nothing shows to end, by every trick we know: all are refused, whether their paths
// are followed one by one or joined. And loops of the same kinds that do end.
#include "verify/test_programs.hpp"

namespace skep::verify {
namespace {

struct Trick {
  const char* what;
  const char* text;
};

#define RANDOM "call get_prandom_u32\n"
#define AT(slot) "r1 = r10\nr1 += " slot "\n"
#define NEW(slot) AT(slot) "r2 = 0\nr3 = 9\ncall iter_num_new\n"
#define NEXT(slot) AT(slot) "call iter_num_next\n"
#define DESTROY(slot) AT(slot) "call iter_num_destroy\n"
#define BPF_LOOP(rounds, function) "r1 = " rounds "\nr2 = subprog[" function "]\nr3 = r10\nr4 = 0\ncall loop\n"

constexpr Trick endless[] = {
    // --- may_goto: whoever jumps where the loop goes on, goes on when the time is up ---
    {"both ways of may_goto stay", "r0 = 0\nloop: may_goto +0\ngoto loop\n"},
    {"the jump of may_goto stays", "r6 = 0\nloop: may_goto on\nr6 = 1\non: " RANDOM "if r0 != 7 goto loop\n" RETURN},
    {"may_goto of a function that is called anew",
     "loop: call f\nif r0 != 0 goto end\ngoto loop\nend: " RETURN "f: may_goto out\nr0 = 0\nexit\nout: r0 = 1\nexit"},
    {"may_goto of an inner loop", "outer: r6 = 0\ninner: may_goto outer\nr6 += 1\ngoto inner\n"},
    {"may_goto of an inner loop, rounds of both closed at once",
     "outer: " RANDOM "if r0 == 7 goto end\nr6 = 0\ninner: may_goto on\nr6 += 1\ngoto inner\non: goto "
     "outer\nend: " RETURN},
    // --- iterators ---
    {"null is not looked at", NEW("-8") "loop: " NEXT("-8") "goto loop\n"},
    {"null goes on, too", NEW("-8") "loop: " NEXT("-8") "if r0 == 0 goto loop\ngoto loop\n"},
    {"null leads to the same place", NEW("-8") "loop: " NEXT("-8") "if r0 == 0 goto +0\ngoto loop\n"},
    {"null stays when a number says so",
     NEW("-8") "loop: " NEXT("-8") "if r0 != 0 goto loop\n" RANDOM "if r0 != 7 goto loop\n" DESTROY("-8") RETURN},
    {"another number is compared with null",
     NEW("-8") "loop: " NEXT("-8") "r0 = 1\nif r0 == 0 goto end\n" RANDOM "if r0 != 7 goto loop\nend: " DESTROY("-8")
         RETURN},
    {"a way comes in behind the call",
     NEW("-8") "r6 = 1\nloop: " NEXT("-8") "r0 = r6\nin: if r0 == 0 goto end\nr0 = 1\ngoto in\nend: " DESTROY("-8")
         RETURN},
    {"made anew in each round", NEW("-8") "loop: " NEXT("-8") "if r0 == 0 goto end\n" DESTROY("-8")
                                    NEW("-8") "goto loop\nend: " DESTROY("-8") RETURN},
    {"made anew on one way",
     NEW("-8") "loop: " NEXT("-8") "if r0 == 0 goto end\n" RANDOM "if r0 != 7 goto loop\n" DESTROY("-8")
         NEW("-8") "goto loop\nend: " DESTROY("-8") RETURN},
    {"each of two makes the other anew",
     NEW("-8") NEW("-16") "outer: " NEXT("-8") "if r0 == 0 goto end\n" DESTROY("-16")
         NEW("-16") "inner: " NEXT("-16") "if r0 == 0 goto outer\n" DESTROY("-8")
             NEW("-8") "goto inner\nend: " DESTROY("-8") DESTROY("-16") RETURN},
    {"made anew by a function",
     NEW("-8") "loop: " NEXT("-8") "if r0 == 0 goto end\n" AT("-8") "call f\ngoto loop\nend: " DESTROY("-8") RETURN
     "f: r6 = r1\ncall iter_num_destroy\nr1 = r6\nr2 = 0\nr3 = 9\ncall iter_num_new\nr0 = 0\nexit"},
    {"made anew by a callback",
     NEW("-8") "loop: " NEXT("-8") "if r0 == 0 goto end\n" BPF_LOOP("1", "f") "goto loop\nend: " DESTROY("-8") RETURN
     "f: r6 = r2\nr1 = r6\nr1 += -8\ncall iter_num_destroy\nr1 = r6\nr1 += -8\nr2 = 0\nr3 = 9\ncall "
     "iter_num_new\nr0 = 0\nexit"},
    {"an iterator of a function that is called anew",
     "loop: call f\nif r0 == 0 goto end\ngoto loop\nend: " RETURN "f: " NEW("-8")
         NEXT("-8") "r6 = 0\nif r0 == 0 goto on\nr6 = 1\non: " DESTROY("-8") "r0 = r6\nexit"},
    {"a whole iteration in each round, at whose start a helper calls back",
     "loop: " BPF_LOOP("5", "f") NEW("-8")
         NEXT("-8") "if r0 == 0 goto end\n" DESTROY("-8") "goto loop\nend: " DESTROY("-8") RETURN "f: r0 = 0\nexit"},
    {"a whole iteration in each round, and may_goto that stays",
     "loop: may_goto +0\n" NEW("-8") NEXT("-8") "if r0 == 0 goto end\n" DESTROY("-8") "goto loop\nend: " DESTROY("-8")
         RETURN},
    // --- callbacks ---
    {"around a helper that calls back",
     "loop: " BPF_LOOP("5", "f") RANDOM "if r0 != 7 goto loop\n" RETURN "f: r0 = 0\nexit"},
    {"inside what is called back", BPF_LOOP("5", "f") RETURN "f: " RANDOM "if r0 != 7 goto f\nr0 = 0\nexit"},
    {"a counter that a callback sets back",
     "*(u64 *)(r10 -8) = 0\nloop: " BPF_LOOP(
         "1", "f") "r1 = *(u64 *)(r10 -8)\nr1 += 1\n*(u64 *)(r10 -8) = r1\nif r1 < 5000 goto loop\n" RETURN
                   "f: *(u64 *)(r2 -8) = 0\nr0 = 0\nexit"},
    {"a counter that a callback sets back in a register's slot",
     "r6 = 0\nloop: *(u64 *)(r10 -8) = r6\n" BPF_LOOP(
         "1", "f") "r6 = *(u64 *)(r10 -8)\nr6 += 1\nif r6 < 5000 goto loop\n" RETURN
                   "f: *(u32 *)(r2 -8) = 0\nr0 = 0\nexit"},
    {"a callback's counter lives in its own frame", "*(u64 *)(r10 -8) = 0\nloop: " BPF_LOOP("9", "f") RANDOM
     "if r0 != 7 goto loop\n" RETURN
     "f: r1 = *(u64 *)(r2 -8)\nr1 += 1\n*(u64 *)(r2 -8) = r1\nr0 = 0\nif r1 < 5000 goto +1\nr0 = 1\nexit"},
    // --- counters that something sets back ---
    {"a function gets the slot's address",
     "*(u64 *)(r10 -8) = 0\nloop: " AT("-8") "call f\nr1 = *(u64 *)(r10 -8)\nr1 += 1\n*(u64 *)(r10 -8) = r1\nif r1 < "
                                             "5000 goto loop\n" RETURN "f: *(u8 *)(r1 +1) = 0\nr0 = 0\nexit"},
    {"a byte of it is set",
     "*(u64 *)(r10 -8) = 0\nloop: r1 = *(u64 *)(r10 -8)\nr1 += 1\n*(u64 *)(r10 -8) = "
     "r1\n*(u8 *)(r10 -8) = 0\nif r1 < 5000 goto loop\n" RETURN},
    {"half of it is set",
     "*(u64 *)(r10 -8) = 0\nloop: r1 = *(u64 *)(r10 -8)\nr1 += 1\n*(u64 *)(r10 -8) = "
     "r1\n*(u16 *)(r10 -8) = 0\nif r1 < 5000 goto loop\n" RETURN},
    {"an atomic takes away what was added",
     "*(u64 *)(r10 -8) = 0\nloop: r1 = *(u64 *)(r10 -8)\nif r1 > 5000 goto end\nr1 += 1\n*(u64 *)(r10 -8) = r1\nr2 = "
     "-1\nlock *(u64 *)(r10 -8) += r2\ngoto loop\nend: " RETURN},
    {"an atomic of four bytes takes it away",
     "*(u64 *)(r10 -8) = 0\nloop: r1 = *(u32 *)(r10 -8)\nif r1 > 5000 goto end\nr1 += 1\n*(u32 *)(r10 -8) = r1\nw2 = "
     "-1\nlock *(u32 *)(r10 -8) += w2\ngoto loop\nend: " RETURN},
    {"an exchange gives another number",
     "r6 = 0\nloop: r6 += 1\n*(u64 *)(r10 -8) = 0\nr6 = atomic64_xchg((u64 *)(r10 -8), r6)\nif r6 < 5000 goto "
     "loop\n" RETURN},
    {"an iterator is made where the number was put",
     "r6 = 0\nloop: r6 += 1\n*(u64 *)(r10 -8) = r6\n" NEW("-8")
         DESTROY("-8") "r6 = *(u64 *)(r10 -8)\nif r6 < 5000 goto loop\n" RETURN},
    {"a helper writes behind a pointer that varies",
     "r6 = 0\nloop: r6 += 1\n*(u64 *)(r10 -8) = r6\n" RANDOM "r0 &= 8\nr1 = r10\nr1 += -16\nr1 += r0\nr2 = 8\ncall "
     "get_current_comm\nr6 = *(u64 *)(r10 -8)\nif r6 < 5000 goto loop\n" RETURN},
    // --- counters that are none ---
    {"two that undo each other",
     "r6 = 0\nr7 = 0\nloop: r6 += 1\nr7 = r6\nr7 += -1\nr6 = r7\nif r6 < 5000 goto loop\n" RETURN},
    {"up on one way, down on the other",
     "r6 = 50\nloop: " RANDOM
     "if r0 > 7 goto down\nr6 += 1\ngoto on\ndown: r6 += -1\non: if r6 > 100 goto end\nif r6 s> "
     "0 goto loop\nend: " RETURN},
    {"its bound moves with it", "r6 = 0\nr7 = 100\nloop: r6 += 1\nr7 += 1\nif r6 < r7 goto loop\n" RETURN},
    {"its bound is read anew",
     LOOKUP("table") "if r0 == 0 goto end\nr7 = r0\nr6 = 0\nloop: r6 += 1\nr1 = *(u64 *)(r7 +0)\nif r6 < r1 goto "
                     "loop\nend: " RETURN},
    {"kept in a map, where others write",
     LOOKUP("table") "if r0 == 0 goto end\nloop: r1 = *(u64 *)(r0 +0)\nr1 += 1\n*(u64 *)(r0 +0) = r1\nif r1 < 100 goto "
                     "loop\nend: " RETURN},
    {"comes round at 2^32", "w6 = 0\nloop: w6 += 0x10000000\nif w6 != 5 goto loop\n" RETURN},
    {"comes round at 2^32, one way", "w6 = 0\nloop: w6 += 3\nif w6 < 0xfffffffe goto loop\n" RETURN},
    {"comes round below zero",
     "w6 = 7\nloop: w6 += -2\nif w6 <= 0x7fffffff goto on\non: if w6 != 4 goto loop\n" RETURN},
    {"the upper half counts", "r6 = 0\nr7 = 1\nr7 <<= 32\nloop: r6 += r7\nif w6 == 0 goto loop\n" RETURN},
    {"shifted out and back", "r6 = 0\nloop: r6 += 1\nr6 <<= 33\nr6 >>= 33\nif r6 < 0x7fffffff goto loop\n" RETURN},
    {"bounds that never were in order", RANDOM
     "r6 = r0\nr6 &= 1\nr6 += 5\n" RANDOM "r7 = r0\nr7 &= 1\nr7 += 4\nloop: r1 = r7\nr1 -= r6\nr2 = r1\nr2 >>= 1\n"
     "r2 += r6\nr3 = r1\nr3 s>>= 1\nr3 += r6\nr7 = r3\nif r6 < r2 goto loop\n" RETURN},
    {"a test of bits that a step skips", "r7 = *(u16 *)(r1 +0)\nloop: r7 += 4\nif r7 & 0x703 goto loop\n" RETURN},
    {"a test of bits of a copy that stays",
     "r7 = *(u16 *)(r1 +0)\nr8 = r7\nloop: r7 += 1\nif r8 & 0x703 goto loop\n" RETURN},
    {"a test of bits with two odd steps",
     "r7 = *(u16 *)(r1 +0)\nloop: " RANDOM "if r0 > 7 goto +1\nr7 += 2\nr7 += 1\nif r7 & 0x703 goto loop\n" RETURN},
    {"two rounds that take turns",
     "r6 = 0\nr7 = 1\nloop: if r6 == 0 goto a\nr6 = 0\nr7 += -1\ngoto on\na: r6 = 1\nr7 += "
     "1\non: " RANDOM "if r0 != 7 goto loop\n" RETURN},
    {"two loops into each other",
     "r6 = 0\n" RANDOM "if r0 > 7 goto b\na: r6 += 1\nif r6 > 100 goto end\n" RANDOM
     "if r0 > 7 goto b\ngoto a\nb: r6 += -1\nif r6 s< -100 goto end\ngoto a\nend: " RETURN},
};

constexpr Trick ending[] = {
    {"may_goto", "r6 = 0\nloop: may_goto end\nr6 += 1\ngoto loop\nend: " RETURN},
    {"may_goto at the end of a round", "r6 = 0\nloop: r6 += 1\nmay_goto end\ngoto loop\nend: " RETURN},
    {"may_goto in the middle, whose jump leaves",
     "r6 = 0\nloop: " RANDOM "if r0 > 7 goto on\nr6 += 1\non: may_goto end\ngoto loop\nend: " RETURN},
    {"may_goto beside a counter", "r6 = 0\nloop: may_goto end\nr6 += 1\nif r6 < 100 goto loop\nend: " RETURN},
    {"may_goto inside a loop that is counted",
     "r6 = 0\nouter: r7 = 0\ninner: may_goto on\nr7 += 1\nif r7 < 9 goto inner\non: r6 += 1\nif r6 < 9 goto "
     "outer\n" RETURN},
    {"an iterator",
     NEW("-8") "loop: " NEXT("-8") "if r0 == 0 goto end\n" RANDOM "goto loop\nend: " DESTROY("-8") RETURN},
    {"an iterator, asked at the end of a round", NEW("-8") NEXT("-8") "if r0 == 0 goto end\nloop: " RANDOM NEXT(
                                                     "-8") "if r0 != 0 goto loop\nend: " DESTROY("-8") RETURN},
    {"an iterator whose element is copied first",
     NEW("-8") "loop: " NEXT(
         "-8") "r6 = r0\nr0 = 5\nif r6 == 0 goto end\nr1 = *(u32 *)(r6 +0)\ngoto loop\nend: " DESTROY("-8") RETURN},
    {"one iterator in the loop of another",
     NEW("-8") "loop: " NEXT("-8") "if r0 == 0 goto end\n" NEW("-16") "inner: " NEXT(
         "-16") "if r0 != 0 goto inner\n" DESTROY("-16") "goto loop\nend: " DESTROY("-8") RETURN},
    {"a caller's iterator, a whole one beside it", NEW("-8") AT("-8") "call f\n" DESTROY("-8") RETURN
     "f: r6 = r1\nloop: r1 = r6\ncall iter_num_next\nif r0 == 0 goto "
     "end\n" NEW("-8") DESTROY("-8") "goto loop\nend: r0 = 0\nexit"},
    {"a loop that is counted around an iteration",
     "r6 = 0\nouter: " NEW("-8") "loop: " NEXT("-8") "if r0 != 0 goto loop\n" DESTROY(
         "-8") "r6 += 1\nif r6 < 5 goto outer\n" RETURN},
    {"a loop that is counted around a helper that calls back",
     "r6 = 0\nloop: " BPF_LOOP("9", "f") "r6 += 1\nif r6 < 5 goto loop\n" RETURN "f: r0 = 0\nexit"},
    {"a loop that is counted in what is called back",
     BPF_LOOP("9", "f") RETURN "f: r6 = 0\nloop: " RANDOM "r6 += 1\nif r6 < 5 goto loop\nr0 = 0\nexit"},
};

TEST(termination, is_refused_where_nothing_shows_it) {
  constexpr u64 most_insns = 40'000;
  for (const Trick& trick : endless)
    for (const Rules rules : {Rules::user, Rules::strict})
      for (const bool at_once : {false, true}) {
        const Report report = judge({"", kprobe, trick.text}, rules, at_once, most_insns);
        EXPECT_FALSE(report.accepted) << trick.what << (at_once ? ", joined\n" : "\n") << trick.text;
        if (!report.rejection) continue;
        const std::string& id = report.rejection->id;
        const bool is_strict_about_stack = rules == Rules::strict && id == "stack_uninitialised";
        EXPECT_TRUE(id == "infinite_loop" || id == "too_complex" || id == "loop_unbounded" || is_strict_about_stack)
            << trick.what << ": " << report.rejection->id << ": " << report.rejection->reason;
      }
}

TEST(termination, is_given_up_early_where_no_bound_comes_nearer) {
  constexpr u64 a_tenth_of_a_second = 150'000;  // processed instructions
  const char* unbounded[] = {"r6 = 0\nr7 = 0\nloop: r6 += 1\n" RANDOM "r7 += r0\nif r6 < r0 goto loop\nr0 = 0\nexit",
                             "r6 = 0\nloop: r6 += 3\n" RANDOM "if r6 != r0 goto loop\nr0 = 0\nexit",
                             // Rounds inside that end, and each a choice.
                             "r6 = 0\nloop: r7 = 0\nr8 = 0\ninner: " RANDOM
                             "if r0 < 9 goto on\nr8 += 5\non: r7 += 1\nif r7 < 20 goto "
                             "inner\nr6 += 1\n" RANDOM "if r6 s< r0 goto loop\nr0 = r8\nr0 &= 1\nexit"};
  for (const char* text : unbounded) {
    const Report report = judge({"", kprobe, text}, Rules::user, false, 16'000'000);
    ASSERT_TRUE(report.rejection) << text;
    EXPECT_TRUE(report.rejection->id == "loop_unbounded" || report.rejection->id == "infinite_loop")
        << report.rejection->reason << "\n"
        << text;
    EXPECT_LT(report.insns_processed, a_tenth_of_a_second) << text;
  }
  // Long, followed round by round, and in the end there is no other way but out.
  const char* bounded = "r6 = 0\nr7 = -1\nloop: " RANDOM
                        "r0 &= 255\nr7 ^= r0\nr8 = r7\nr8 &= 1\nr7 >>= 1\nif r8 == 0 goto even\nr7 ^= "
                        "123456\neven: r6 += 1\nif r6 < 6000 goto loop\nr0 = r7\nr0 &= 1\nexit";
  EXPECT_TRUE(judge({"", kprobe, bounded}, Rules::user, false).accepted);
}

TEST(termination, is_seen_where_it_is_there) {
  for (const Trick& trick : ending)
    for (const Rules rules : {Rules::user, Rules::strict, Rules::kernel})
      for (const bool at_once : {false, true}) {
        const Report report = judge({"", kprobe, trick.text}, rules, at_once);
        EXPECT_TRUE(report.accepted) << trick.what << (at_once ? ", joined: " : ": ")
                                     << (report.rejection ? report.rejection->reason : "");
      }
}

}  // namespace
}  // namespace skep::verify
