// Loops by family: each kind of loop with its parameters turned until it does not end any more, and next to that twins
// that do. What does not end is refused, whether paths are followed one by one or joined; what does is accepted.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "verify/test_programs.hpp"

namespace skep::verify {
namespace {

enum class Ends : u8 { no, yes, unproved };  ///< unproved: it ends, and nothing here shows it yet

struct Attempt {
  std::string what, text;
  Ends ends;
};
using Attempts = std::vector<Attempt>;

/// Where a number lives, and how it is loaded and stored: in r6 to r8, or in a slot of 8 or 4 bytes.
struct Place {
  const char* name;
  char width;        ///< of arithmetic and comparisons
  const char* size;  ///< null: in a register
};
constexpr Place places[] = {
    {"r6", 'r', nullptr}, {"w6", 'w', nullptr}, {"u64 slot", 'r', "u64"}, {"u32 slot", 'w', "u32"}};

std::string load(const Place& place, char scratch, s32 number = 0) {
  if (place.size == nullptr) return fmt::format("{0}{1} = {0}{2}\n", place.width, scratch, 6 + number);
  return fmt::format("r{} = *({} *)(r10 {})\n", scratch, place.size, -8 - 8 * number);
}
std::string store(const Place& place, char scratch, s32 number = 0) {
  if (place.size == nullptr) return fmt::format("{0}{2} = {0}{1}\n", place.width, scratch, 6 + number);
  return fmt::format("*({} *)(r10 {}) = r{}\n", place.size, -8 - 8 * number, scratch);
}
std::string set(const Place& place, s32 value, s32 number = 0) {
  if (place.size == nullptr) return fmt::format("{}{} = {}\n", place.width, 6 + number, value);
  return fmt::format("*({} *)(r10 {}) = {}\n", place.size, -8 - 8 * number, value);
}

#define COIN "call get_prandom_u32\nif r0 > 7 goto "

/// `x = begin; do x += step; while (x OP limit);`
void counters(Attempts& all) {
  struct Count {
    s32 begin, step;
    const char* compare;
    s32 limit;
    Ends ends;
  };
  constexpr Count counts[] = {
      {0, 1, "<", 5000, Ends::yes},
      {0, 1, "!=", 5000, Ends::yes},
      {0, 3, "<", 5000, Ends::yes},
      {0, 1, "s<=", 5000, Ends::yes},
      {5000, -3, "s>", 0, Ends::yes},
      {5000, -1, "!=", 0, Ends::yes},
      {5000, -1, ">", 0, Ends::yes},
      {5000, -7, "s>=", -100, Ends::yes},
      {-5000, 3, "s<", 5000, Ends::yes},
      {0, 0, "<", 5000, Ends::no},
      {0, -1, "s<", 5000, Ends::no},
      {0, 2, "!=", 5001, Ends::no},
      {0, 0x10000000, "!=", 5, Ends::no},
      {5000, -3, ">", 0, Ends::no},
      {5001, -2, "!=", 0, Ends::no},
      {0, 1, "s>=", 0, Ends::no},
      {0, 1, ">=", 0, Ends::no},
      {5000, -1, ">=", 0, Ends::no},
      {0, 1, "s<", 0x7fffffff, Ends::no},
      {0, 0x7fffffff, "!=", 5, Ends::no},
      {5000, 1, "!=", 4999, Ends::no},
      {5000, -1, "s<", 5001, Ends::no},
      {7, -4, "<=", 0x7fffffff, Ends::yes},
  };
  for (const Place& place : places)
    for (const Count& c : counts) {
      const std::string text = set(place, c.begin) + "loop: " + load(place, '1') +
                               fmt::format("{}1 += {}\n", place.width, c.step) + store(place, '1') +
                               fmt::format("if {}1 {} {} goto loop\n", place.width, c.compare, c.limit) + RETURN;
      all.push_back(
          {fmt::format("{} from {} by {} while {} {}", place.name, c.begin, c.step, c.compare, c.limit), text, c.ends});
    }
}

/// A counter up to 5000 in a slot or a register that something else changes on the way, on some rounds or on all.
void disturbances(Attempts& all) {
  struct Disturbance {
    const char* text;  ///< {0}: the counter's slot, {1}: its register
    Ends in_slot, in_register;
    const char* functions = "";
  };
  constexpr Ends no = Ends::no, yes = Ends::yes, unproved = Ends::unproved;
  constexpr Disturbance disturbances[] = {
      // The number itself.
      {"{1} = 0\n", yes, no},
      {"{1} += -1\n", yes, no},
      {"{1} += 1\n", yes, yes},
      {"{1} &= 0xff\n", yes, no},
      {"{1} &= -2\n", yes, no},
      {"{1} = -{1}\n", yes, no},
      {"{1} <<= 33\n{1} >>= 33\n", yes, unproved},
      {"{1} <<= 32\n{1} >>= 32\n", yes, yes},
      {"{1} = (s8){1}\n", yes, unproved},
      {"{1} = be16 {1}\n", yes, unproved},  // 0, 1, 257, 258, 514, ... if each round does it
      {"{1} = be16 {1}\n{1} &= 255\n", yes, no},
      // The slot, beside the loop's own accesses.
      {"*(u64 *)(r10 {0}) = 0\n", no, yes},
      {"*(u32 *)(r10 {0}) = 0\n", no, yes},
      {"*(u8 *)(r10 {0}) = 0\n", no, yes},
      {"r2 = r10\nr2 += {0}\n*(u8 *)(r2 +1) = 0\n", no, yes},
      {"r2 = r10\nr2 += {0}\n*(u8 *)(r2 +3) = 255\n", no, yes},
      {"r2 = r10\nr2 += {0}\nr3 = *(u64 *)(r2 +0)\n", yes, yes},
      {"r2 = r10\nr2 += {0}\nr3 = -1\nlock *(u64 *)(r2 +0) += r3\n", no, yes},
      {"r3 = -1\nlock *(u64 *)(r10 {0}) += r3\n", no, yes},
      {"r3 = 0\nr3 = atomic64_xchg((u64 *)(r10 {0}), r3)\n", no, yes},
      {"r0 = *(u64 *)(r10 {0})\nr3 = 0\nr0 = atomic64_cmpxchg((u64 *)(r10 {0}), r0, r3)\n", no, yes},
      {"call get_prandom_u32\nr0 &= 8\nr2 = r10\nr2 += {0}\nr2 += -8\nr2 += r0\n*(u64 *)(r2 +0) = 0\n", no, yes},
      // Who gets its address.
      {"r1 = r10\nr1 += {0}\nr2 = 8\ncall get_current_comm\n", no, yes},
      {"r1 = r10\nr1 += -16\nr2 = 16\ncall get_current_comm\n", no, yes},
      {"r1 = r10\nr1 += {0}\nr2 = 4\nr3 = r10\ncall probe_read\n", no, yes},
      {"r1 = r10\nr1 += {0}\ncall f\n", no, yes, "f: *(u64 *)(r1 +0) = 0\nr0 = 0\nexit\n"},
      {"r1 = r10\nr1 += {0}\ncall f\n", no, yes, "f: r1 += 2\n*(u8 *)(r1 +0) = 0\nr0 = 0\nexit\n"},
      {"r1 = r10\nr1 += {0}\ncall f\n", no, yes, "f: call g\nr0 = 0\nexit\ng: *(u32 *)(r1 +0) = 0\nr0 = 0\nexit\n"},
      {"r1 = r10\nr1 += {0}\ncall f\n", yes, yes, "f: r0 = *(u64 *)(r1 +0)\nexit\n"},
      {"r1 = 1\nr2 = subprog[f]\nr3 = r10\nr4 = 0\ncall loop\n", no, yes, "f: *(u64 *)(r2 -8) = 0\nr0 = 0\nexit\n"},
      {"r1 = 1\nr2 = subprog[f]\nr3 = r10\nr4 = 0\ncall loop\n", yes, yes, "f: r0 = *(u64 *)(r2 -8)\nr0 = 0\nexit\n"},
      {"r1 = 1\nr2 = subprog[f]\nr3 = r10\nr4 = 0\ncall loop\n", no, yes,
       "f: r1 = r2\ncall g\nr0 = 0\nexit\ng: *(u16 *)(r1 -8) = 0\nr0 = 0\nexit\n"},
  };
  for (const Disturbance& d : disturbances)
    for (const bool in_slot : {true, false})
      for (const bool sometimes : {true, false}) {
        const std::string change = fmt::format(fmt::runtime(d.text), -8, "r6");
        const std::string body = sometimes ? COIN "over\n" + change + "over: " : change;
        const std::string step = in_slot
                                     ? "r1 = *(u64 *)(r10 -8)\nr1 += 1\n*(u64 *)(r10 -8) = r1\nif r1 < 5000 goto loop\n"
                                     : "r6 += 1\nif r6 < 5000 goto loop\n";
        all.push_back(
            {"disturbed: " + change,
             "*(u64 *)(r10 -8) = 0\n*(u64 *)(r10 -16) = 0\nr6 = 0\nloop: " + body + step + RETURN + d.functions,
             in_slot ? d.in_slot : d.in_register});
      }
}

/// Binary search in all its spellings, right and nearly right.
void searches(Attempts& all) {
  struct Middle {
    const char* text;  ///< w: `r` or `w`; lo in 6, hi in 7, to 8
    bool is_upper;
  };
  constexpr Middle middles[] = {
      {"{0}8 = {0}6\n{0}8 += {0}7\n{0}8 >>= 1\n", false},
      {"{0}8 = {0}7\n{0}8 -= {0}6\n{0}8 >>= 1\n{0}8 += {0}6\n", false},
      {"{0}8 = {0}7\n{0}8 -= {0}6\n{0}8 /= 2\n{0}8 += {0}6\n", false},
      {"{0}8 = {0}7\n{0}8 -= {0}6\n{0}8 s>>= 1\n{0}8 += {0}6\n", false},
      {"{0}8 = {0}7\n{0}8 += {0}6\n{0}8 += 1\n{0}8 >>= 1\n", true},
      {"{0}8 = {0}7\n{0}8 -= {0}6\n{0}8 += 1\n{0}8 >>= 1\n{0}8 += {0}6\n", true},
      {"{0}1 = {0}7\n{0}1 -= {0}6\n{0}1 >>= 1\n{0}8 = {0}7\n{0}8 -= {0}1\n", true},
  };
  struct Update {
    s32 up, down;       ///< lo = middle + up, hi = middle + down
    bool is_closed;     ///< `while (lo <= hi)`
    Ends lower, upper;  ///< where the middle is the lower one, the upper one
  };
  constexpr Update updates[] = {
      {1, 0, false, Ends::yes, Ends::no},   {0, 0, false, Ends::no, Ends::no},   {0, -1, false, Ends::no, Ends::yes},
      {1, -1, false, Ends::yes, Ends::yes}, {1, -1, true, Ends::yes, Ends::yes}, {1, 0, true, Ends::no, Ends::no},
      {0, -1, true, Ends::no, Ends::no},    {1, 1, false, Ends::no, Ends::no},   {2, -2, false, Ends::yes, Ends::yes},
      {-1, 0, false, Ends::no, Ends::no},
  };
  for (const Middle& middle : middles)
    for (const Update& u : updates)
      for (const char width : {'r', 'w'})
        for (const bool at_end : {false, true}) {
          // Numbers that need a sign are compared with one.
          const char *leave = u.is_closed ? "s>" : "s>=", *stay = u.is_closed ? "s<=" : "s<";
          const std::string text =
              "r6 = 0\nr7 = *(u16 *)(r1 +0)\nw7 &= 0xfff\nr7 += 1\nloop: " +
              (at_end ? "" : fmt::format("if {0}6 {1} {0}7 goto end\n", width, leave)) +
              fmt::format(fmt::runtime(middle.text), width) + COIN "up\n" +
              fmt::format("{0}7 = {0}8\n{0}7 += {1}\ngoto on\nup: {0}6 = {0}8\n{0}6 += {2}\non: ", width, u.down,
                          u.up) +
              (at_end ? fmt::format("if {0}6 {1} {0}7 goto loop\n", width, stay) : "goto loop\nend: ") + RETURN;
          all.push_back({fmt::format("search: {}", text), text, middle.is_upper ? u.upper : u.lower});
        }
}

/// Bits shifted out, digits divided off, Euclid.
void shrinking(Attempts& all) {
  struct Shrink {
    const char* text;  ///< x in 6, another number in 7
    Ends ends;
  };
  constexpr Ends no = Ends::no, yes = Ends::yes;
  constexpr Shrink shrinks[] = {
      {"{0}6 >>= 1\n", yes},
      {"{0}6 >>= 7\n", yes},
      {"{0}6 /= 10\n", yes},
      {"{0}1 = {0}6\n{0}1 += -1\n{0}6 &= {0}1\n", yes},
      {"{0}1 = {0}6\n{0}1 -= 1\n{0}1 &= {0}6\n{0}6 = {0}1\n", yes},
      {"r6 <<= 32\nr6 >>= 33\n", yes},
      {"{0}6 &= 0xffff\n{0}6 >>= 1\n", yes},
      {"{0}1 = {0}6\n{0}1 %= 10\n{0}6 /= 10\n", yes},
      {"*(u64 *)(r10 -8) = r6\nr1 = *(u64 *)(r10 -8)\nr1 >>= 4\nr6 = r1\n", yes},
      {"{0}6 >>= 0\n", no},
      {"{0}6 s>>= 1\n", no},
      {"{0}6 /= 1\n", no},
      {"{0}6 &= 0x7fff\n", no},
      {"{0}6 %= 1000\n", no},
      {"{0}1 = {0}6\n{0}6 &= {0}1\n", no},
      {"{0}1 = {0}6\n{0}1 += 1\n{0}6 &= {0}1\n", no},
      {"{0}1 = {0}6\n{0}1 += -2\n{0}6 &= {0}1\n", no},
      {"{0}6 >>= 1\n{0}6 |= 1\n", no},
      {"{0}6 >>= 1\n{0}6 += 1\n", no},
      {"{0}6 >>= 1\n{0}6 <<= 1\n", no},
      {"{0}6 += -1\n{0}6 >>= 1\n{0}6 += 2\n", no},
      {"r6 s/= 2\n", no},
      {"{0}6 >>= 1\n" COIN "over\n{0}6 = 9\nover: ", no},
      {COIN "over\n{0}6 >>= 1\nover: ", no},
      {"{0}7 = {0}6\n{0}7 >>= 1\n", no},
      {"*(u64 *)(r10 -8) = r6\n*(u8 *)(r10 -2) = 1\nr6 = *(u64 *)(r10 -8)\n{0}6 >>= 1\n", no},
      {"{0}7 &= 63\n{0}6 >>= {0}7\n", no},
      {"{0}6 /= {0}7\n", no},
      {"{0}1 = {0}6\n{0}1 >>= 1\n{0}6 ^= {0}1\n", no},
  };
  for (const Shrink& shrink : shrinks)
    for (const char width : {'r', 'w'})
      for (const bool at_end : {false, true}) {
        const std::string round = fmt::format(fmt::runtime(shrink.text), width);
        all.push_back({"shrinking: " + round,
                       "r6 = *(u64 *)(r1 +0)\nr7 = *(u64 *)(r1 +8)\nloop: " +
                           (at_end ? round + fmt::format("if {}6 != 0 goto loop\n", width)
                                   : fmt::format("if {}6 == 0 goto end\n", width) + round + "goto loop\nend: ") +
                           RETURN,
                       shrink.ends});
      }
  // What is tested is not what shrinks, or not whether it is 0.
  for (const char* test :
       {"if r6 >= 0 goto loop\n", "if r6 s>= 0 goto loop\n", "if r7 != 0 goto loop\n", "if r6 < 7 goto loop\n",
        "if r6 == 0 goto loop\n", "if r6 s< 9 goto loop\n", "if r6 <= -1 goto loop\n"})
    all.push_back({"shrinking, tested otherwise",
                   std::string("r6 = *(u64 *)(r1 +0)\nr7 = r6\nloop: r6 >>= 1\n") + test + RETURN, Ends::no});
  for (const char* test : {"if r6 > 9 goto loop\n", "if r6 & 0xf0 goto loop\n", "if r6 s> 0 goto loop\n",
                           "if r6 == 5 goto loop\n", "if r6 >= 1 goto loop\n"})
    all.push_back(
        {"shrinking, tested so", std::string("r6 = *(u64 *)(r1 +0)\nloop: r6 >>= 1\n") + test + RETURN, Ends::yes});

  struct Pair {
    const char* text;  ///< a in 6, b in 7
    Ends ends;
  };
  constexpr Pair pairs[] = {
      {"{0}1 = {0}6\n{0}1 %= {0}7\n{0}6 = {0}7\n{0}7 = {0}1\n", yes},
      {"{0}1 = {0}7\n{0}6 %= {0}7\n{0}7 = {0}6\n{0}6 = {0}1\n", yes},
      {"{0}1 = {0}7\n{0}1 %= {0}6\n{0}6 = {0}7\n{0}7 = {0}1\n", no},
      {"{0}1 = {0}6\n{0}1 %= {0}7\n{0}7 = {0}1\n", no},
      {"{0}1 = {0}6\n{0}1 s%= {0}7\n{0}6 = {0}7\n{0}7 = {0}1\n", no},
      {"{0}1 = {0}6\n{0}1 %= {0}7\n{0}1 += 1\n{0}6 = {0}7\n{0}7 = {0}1\n", no},
      {"{0}1 = {0}6\n{0}1 -= {0}7\n{0}6 = {0}7\n{0}7 = {0}1\n", no},
      {"{0}1 = {0}6\n{0}6 = {0}7\n{0}7 = {0}1\n", no},
      {"{0}1 = {0}6\n{0}1 %= {0}7\n{0}6 = {0}7\n{0}7 = {0}1\n" COIN "over\n{0}6 = 7\nover: ", no},
  };
  for (const Pair& pair : pairs)
    for (const char width : {'r', 'w'})
      for (const bool at_end : {false, true}) {
        const std::string round = fmt::format(fmt::runtime(pair.text), width);
        const char* loads = width == 'w' ? "r6 = *(u32 *)(r1 +0)\nr7 = *(u32 *)(r1 +8)\n"
                                         : "r6 = *(u64 *)(r1 +0)\nr7 = *(u64 *)(r1 +8)\n";
        all.push_back(
            {"Euclid: " + round,
             loads +
                 ("loop: " + (at_end ? round + fmt::format("if {}7 != 0 goto loop\n", width)
                                     : fmt::format("if {}7 == 0 goto end\n", width) + round + "goto loop\nend: ")) +
                 RETURN,
             pair.ends});
      }
}

/// An index that grows by what memory says, or with itself: `while (x <= 1000)`.
void strides(Attempts& all) {
  struct Stride {
    const char* text;  ///< x in 6, the address of memory in r9
    Ends ends;
  };
  constexpr Ends no = Ends::no, yes = Ends::yes;
  constexpr Stride strides[] = {
      {"r2 = *(u8 *)(r9 +0)\n{0}6 += {0}2\n{0}6 += 1\n", yes},
      {"r2 = *(u16 *)(r9 +0)\n{0}6 += {0}2\n{0}6 += 1\n", yes},
      {"r2 = *(u8 *)(r9 +0)\n{0}2 <<= 3\n{0}2 += 8\n{0}6 += {0}2\n", yes},
      {"r2 = *(u64 *)(r9 +0)\n{0}2 &= 7\n{0}6 += {0}2\n{0}6 += 1\n", yes},
      {"r2 = *(u8 *)(r9 +0)\n{0}2 *= 4\n{0}2 += 2\n{0}2 += {0}6\n{0}6 = {0}2\n", yes},
      {"r2 = *(u8 *)(r9 +0)\n{0}6 -= {0}2\n{0}6 += 256\n", yes},
      {"r2 = *(u8 *)(r9 +0)\nr3 = *(u8 *)(r9 +1)\n{0}2 += {0}3\n{0}6 += {0}2\n{0}6 += 3\n", yes},
      {"{0}2 = {0}6\n{0}2 <<= 1\n{0}2 += 1\n{0}6 = {0}2\n", yes},
      {"{0}6 += {0}6\n{0}6 += 1\n", yes},
      {"{0}6 *= 3\n{0}6 += 2\n", yes},
      {"r2 = *(u8 *)(r9 +0)\n{0}6 += {0}2\n", no},
      {"r2 = *(s8 *)(r9 +0)\n{0}6 += {0}2\n{0}6 += 1\n", no},
      {"r2 = *(u64 *)(r9 +0)\n{0}6 += {0}2\n{0}6 += 1\n", no},
      {"r2 = *(u8 *)(r9 +0)\n{0}6 -= {0}2\n{0}6 += 255\n", no},
      {"r2 = *(u8 *)(r9 +0)\n{0}2 += -1\n{0}6 += {0}2\n{0}6 += 1\n", no},
      {"r2 = *(u32 *)(r9 +0)\nw6 += w2\nw6 += 1\n", no},
      {"r2 = *(u64 *)(r9 +0)\n{0}2 &= -8\n{0}6 += {0}2\n{0}6 += 8\n", no},
      {"{0}6 <<= 1\n", no},
      {"{0}6 += {0}6\n", no},
      {"{0}6 *= 3\n", no},
      {"{0}6 <<= 1\n{0}6 &= 0x3ff\n", no},
      {"{0}2 = {0}6\n{0}6 += 1\n{0}6 -= {0}2\n", no},
  };
  for (const Stride& stride : strides)
    for (const char width : {'r', 'w'}) {
      const std::string round = fmt::format(fmt::runtime(stride.text), width);
      all.push_back({"stride: " + round,
                     LOOKUP("table") "if r0 == 0 goto end\nr9 = r0\nr6 = 0\nloop: " +
                         fmt::format("if {}6 > 1000 goto end\n", width) + round + "goto loop\nend: " RETURN,
                     stride.ends});
    }
}

/// Halves of a slot that are no part of the number.
void halves(Attempts& all) {
  for (const s32 above : {0, 1, -1, -0x7fffffff - 1})
    for (const bool in_lo : {true, false})
      for (const char* compare : {"s>=", ">="}) {
        const std::string bound = "call get_prandom_u32\nw0 &= 1\nw0 += 5\n";
        const std::string text =
            bound + fmt::format("*(u32 *)(r10 -4) = {}\n*(u32 *)(r10 -8) = r0\n", above) + bound +
            "r7 = r0\nloop: r1 = *(u64 *)(r10 -8)\n" +
            (in_lo ? fmt::format("if r1 {} r7 goto end\n", compare) : fmt::format("if r7 {} r1 goto end\n", compare)) +
            "r2 = *(u32 *)(r10 -8)\nw2 += w7\nw2 >>= 1\n" + (in_lo ? "r7 = r2\n" : "*(u32 *)(r10 -8) = r2\n") +
            "goto loop\nend: " RETURN;
        // As 64 bits the slot is less than any number when its upper half says so.
        const bool is_signed = compare[0] == 's';
        const bool is_never_left = in_lo ? is_signed && above < 0 : above > 0 || (!is_signed && above < 0);
        all.push_back({"half a slot: " + text, text, is_never_left ? Ends::no : Ends::unproved});
      }
}

TEST(termination, by_family) {
  Attempts all;
  counters(all);
  disturbances(all);
  searches(all);
  shrinking(all);
  strides(all);
  halves(all);
  u32 endless = 0, ending = 0;
  for (const Attempt& attempt : all)
    for (const bool at_once : {false, true}) {
      const u64 most_insns = attempt.ends == Ends::no ? 20'000 : 200'000;
      const Report report = judge({"", kprobe, attempt.text.c_str()}, Rules::user, at_once, most_insns);
      (attempt.ends == Ends::no ? endless : ending)++;
      if (attempt.ends == Ends::unproved) continue;
      EXPECT_EQ(report.accepted, attempt.ends == Ends::yes)
          << attempt.what << (at_once ? ", joined\n" : "\n") << attempt.text
          << (report.rejection ? report.rejection->reason : "");
    }
  EXPECT_GT(endless, 500u);
  EXPECT_GT(ending, 300u);
}
}  // namespace
}  // namespace skep::verify
