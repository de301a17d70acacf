// The abstract operators against the machine's: every one at 8 bits, random ones at 32 and 64.
//
//     prove_domain [--full] [--pairs N] [--seed S]
//
// What is tested are the verifier's own templates, instantiated at 8 bits. Each law is "whatever the machine computes
// from members is a member of the result". For all members of all operands this would be 256^6 questions for ranges;
// but the hull of f over [a1, a2] x [b1, b2] is the hull of three smaller ones, so one new value decides each pair of
// ranges, and for known bits a pair of operands is the join of two with one bit fewer unknown. That makes all
// 1,082,146,816 pairs of ranges and all 43,046,721 pairs of Tnums feasible (--full; otherwise a grid of them).
//
// At 64 and 32 bits operands are drawn around their concrete members, N pairs in all (--full: 10^9).
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <string_view>
#include <vector>

#include "verify/domain/scalar_compare.hpp"

namespace skep::verify {
namespace {

using isa::Alu;
using isa::Compare;

u64 violations = 0, judged = 0;

template <class... Args>
void violation(fmt::format_string<Args...> text, Args&&... args) {
  if (violations++ < 20) fmt::print("VIOLATION {}\n", fmt::format(text, std::forward<Args>(args)...));
}

constexpr std::string_view names[] = {"add", "sub", "mul",  "div", "sdiv", "or",   "and", "lsh",
                                      "rsh", "mod", "smod", "xor", "mov",  "arsh", "neg"};
constexpr Alu operators[] = {Alu::add, Alu::sub, Alu::mul, Alu::div,  Alu::sdiv, Alu::or_,  Alu::and_,
                             Alu::lsh, Alu::rsh, Alu::mod, Alu::smod, Alu::xor_, Alu::arsh, Alu::neg};
constexpr Compare comparisons[] = {Compare::eq,  Compare::gt, Compare::ge, Compare::set, Compare::ne, Compare::sgt,
                                   Compare::sge, Compare::lt, Compare::le, Compare::slt, Compare::sle};

/// What the machine computes at 8 bits: RFC 9669's rules, which isa::semantics has at 32 and 64 only.
u8 machine8(Alu op, u8 a, u8 b) {
  const int x = static_cast<s8>(a), y = static_cast<s8>(b);
  switch (op) {
    case Alu::div:
      return b == 0 ? u8{0} : static_cast<u8>(a / b);
    case Alu::mod:
      return b == 0 ? a : static_cast<u8>(a % b);
    case Alu::sdiv:
      return b == 0 ? u8{0} : static_cast<u8>(x / y);
    case Alu::smod:
      return b == 0 ? a : static_cast<u8>(x % y);
    case Alu::lsh:
      return static_cast<u8>(a << (b & 7));
    case Alu::rsh:
      return static_cast<u8>(a >> (b & 7));
    case Alu::arsh:
      return static_cast<u8>(x >> (b & 7));
    default:
      return static_cast<u8>(isa::calculate<u64>(op, a, b));
  }
}

bool holds8(Compare c, u8 a, u8 b) {
  const bool is_signed = c == Compare::sgt || c == Compare::sge || c == Compare::slt || c == Compare::sle;
  const auto wide = [is_signed](u8 n) { return is_signed ? static_cast<u64>(s64{static_cast<s8>(n)}) : u64{n}; };
  return isa::holds<u64>(c, wide(a), wide(b));
}

/// The smallest and largest of some numbers, in both orders.
struct Hull {
  u8 umin = 255, umax = 0;
  s8 smin = 127, smax = -128;
  void add(u8 n) {
    umin = std::min(umin, n), umax = std::max(umax, n);
    smin = std::min(smin, static_cast<s8>(n)), smax = std::max(smax, static_cast<s8>(n));
  }
  void add(const Hull& o) {
    umin = std::min(umin, o.umin), umax = std::max(umax, o.umax);
    smin = std::min(smin, o.smin), smax = std::max(smax, o.smax);
  }
  bool is_empty() const { return umin > umax; }
  bool inside(const Interval<u8>& r) const {
    return is_empty() || (r.umin <= umin && umax <= r.umax && r.smin <= smin && smax <= r.smax);
  }
};

/// Every pair of ranges, in the order in which hulls grow. `ordered`: maps 0..255 to the numbers in that order
/// (unsigned, or signed). `one(a, b)` makes the cell of a single pair; `judge(A, B, cell)` decides a pair of ranges.
template <class Cell, class One, class Judge>
void every_pair_of_ranges(bool is_signed, u32 stride, One&& one, Judge&& judge) {
  const auto number = [is_signed](u32 i) { return static_cast<u8>(is_signed ? i ^ 0x80 : i); };
  const auto range = [&](u32 low, u32 high) {
    return is_signed ? Interval<u8>::signed_range(static_cast<s8>(number(low)), static_cast<s8>(number(high)))
                     : Interval<u8>::unsigned_range(number(low), number(high));
  };
  std::vector<Cell> before(256), row(256);
  std::vector<Interval<u8>> ranges_b(256);
  for (u32 a1 = 0; a1 < 256; a1 += 1 + (stride - 1) * (a1 % 2))
    for (u32 b1 = 0; b1 < 256; b1 += stride) {
      for (u32 b2 = b1; b2 < 256; b2++) ranges_b[b2] = range(b1, b2);
      for (u32 a2 = a1; a2 < 256; a2++) {
        const Interval<u8> a = range(a1, a2);
        for (u32 b2 = b1; b2 < 256; b2++) {
          Cell cell = one(number(a2), number(b2));
          if (a2 > a1) cell.add(before[b2]);
          if (b2 > b1) cell.add(row[b2 - 1]);
          row[b2] = cell;
          if ((a2 - a1) % stride != 0 && a2 != 255) continue;
          judge(a, ranges_b[b2], cell);
          judged++;
        }
        std::swap(before, row);
      }
    }
}

View<u8> view_of(const Interval<u8>& range) { return {BasicTnum<u8>::range(range.umin, range.umax), range}; }

void arithmetic_of_ranges(u32 stride) {
  for (const Alu op : operators)
    for (const bool is_signed : {false, true}) {
      const u64 first = judged;
      every_pair_of_ranges<Hull>(
          is_signed, stride,
          [op](u8 x, u8 y) {
            Hull hull;
            hull.add(machine8(op, x, y));
            return hull;
          },
          [op](const Interval<u8>& a, const Interval<u8>& b, const Hull& hull) {
            const View<u8> r = apply(op, view_of(a), view_of(b));
            if (!hull.inside(r.range) || !r.bits.contains(hull.umin) || !r.bits.contains(hull.umax))
              violation("{}: [{}, {}] and [{}, {}] give [{}, {}], not within [{}, {}] {}..{}",
                        names[static_cast<u8>(op)], a.umin, a.umax, b.umin, b.umax, hull.umin, hull.umax, r.range.umin,
                        r.range.umax, r.range.smin, r.range.smax);
          });
      fmt::print("{} of {} ranges: {} pairs\n", names[static_cast<u8>(op)], is_signed ? "signed" : "unsigned",
                 judged - first);
      std::fflush(stdout);
    }
}

/// Which outcomes a comparison has on a pair of ranges, and the members for which it holds.
struct Satisfied {
  bool some_hold = false, some_fail = false;
  Hull left, right;
  void add(const Satisfied& o) {
    some_hold |= o.some_hold, some_fail |= o.some_fail;
    left.add(o.left), right.add(o.right);
  }
};

void comparisons_of_ranges(u32 stride) {
  using Small = BasicScalar<u16, u8>;
  for (const Compare c : comparisons)
    for (const bool is_signed : {false, true}) {
      const u64 first = judged;
      every_pair_of_ranges<Satisfied>(
          is_signed, stride,
          [c](u8 x, u8 y) {
            Satisfied s;
            s.some_hold = holds8(c, x, y);
            s.some_fail = !s.some_hold;
            if (s.some_hold) s.left.add(x), s.right.add(y);
            return s;
          },
          [c](const Interval<u8>& a, const Interval<u8>& b, const Satisfied& s) {
            const Decision decision = decide_view(c, view_of(a), view_of(b));
            if ((decision == Decision::always && s.some_fail) || (decision == Decision::never && s.some_hold))
              violation("comparison {}: [{}, {}] and [{}, {}] decided wrongly", static_cast<int>(c), a.umin, a.umax,
                        b.umin, b.umax);
            Small x, y;  // the upper halves are unknown: a comparison of low halves
            x.narrow = a, y.narrow = b;
            if (!x.normalise() || !y.normalise())
              return violation("a range [{}, {}] is taken for empty", a.umin, a.umax);
            const bool possible = refine(c, x, y, false, true);
            if (!s.some_hold) return;
            if (!possible || !s.left.inside(x.narrow) || !s.right.inside(y.narrow))
              violation("comparison {}: [{}, {}] and [{}, {}] refined too far", static_cast<int>(c), a.umin, a.umax,
                        b.umin, b.umax);
          });
      fmt::print("comparison {} of {} ranges: {} pairs\n", static_cast<int>(c), is_signed ? "signed" : "unsigned",
                 judged - first);
      std::fflush(stdout);
    }
}

/// All Tnums of `bits` bits, numbered in base 3; an unknown digit has two children with one unknown less.
struct Tnums {
  explicit Tnums(u32 width) : bits(width) {
    u32 count = 1;
    for (u32 i = 0; i < bits; i++) count *= 3;
    all.resize(count), low.resize(count), high.resize(count);
    for (u32 n = 0; n < count; n++) {
      low[n] = high[n] = n;
      for (u32 i = 0, rest = n, place = 1; i < bits; i++, rest /= 3, place *= 3) {
        if (rest % 3 == 1) all[n].value = static_cast<u8>(all[n].value | 1u << i);
        if (rest % 3 == 2) low[n] = n - 2 * place, high[n] = n - place;
        if (rest % 3 != 2) all[n].mask = static_cast<u8>(all[n].mask & ~(1u << i));
      }
      all[n].mask = static_cast<u8>(all[n].mask & ((1u << bits) - 1));
    }
  }
  u32 bits;
  std::vector<BasicTnum<u8>> all;
  std::vector<u32> low, high;  ///< n itself: nothing is unknown
};

template <class Abstract, class Concrete>
void tnum_operator(const char* name, const Tnums& tnums, Abstract&& abstract, Concrete&& concrete) {
  const auto count = static_cast<u32>(tnums.all.size());
  std::vector<BasicTnum<u8>> best(static_cast<std::size_t>(count) * count);  // the tightest result of a pair
  u64 optimal = 0;
  for (u32 a = 0; a < count; a++)
    for (u32 b = 0; b < count; b++) {
      const auto at = [&](u32 x, u32 y) -> BasicTnum<u8>& { return best[static_cast<std::size_t>(x) * count + y]; };
      BasicTnum<u8>& mine = at(a, b);
      if (tnums.low[a] != a)
        mine = at(tnums.low[a], b).join(at(tnums.high[a], b));
      else if (tnums.low[b] != b)
        mine = at(a, tnums.low[b]).join(at(a, tnums.high[b]));
      else
        mine = BasicTnum<u8>::of(concrete(tnums.all[a].value, tnums.all[b].value));
      const BasicTnum<u8> r = abstract(tnums.all[a], tnums.all[b]);
      optimal += r == mine;
      if ((r.value & r.mask) != 0 || !r.includes(mine))
        violation("{}: ({:#x}, {:#x}) and ({:#x}, {:#x})", name, tnums.all[a].value, tnums.all[a].mask,
                  tnums.all[b].value, tnums.all[b].mask);
    }
  judged += best.size();
  fmt::print("tnum {}: {} pairs, {:.1f} % as tight as can be\n", name, best.size(),
             100.0 * static_cast<double>(optimal) / static_cast<double>(best.size()));
  std::fflush(stdout);
}

void tnums(u32 bits) {
  const Tnums all(bits);
  using T = BasicTnum<u8>;
  const auto c = [](int n) { return static_cast<u8>(n); };
  tnum_operator("+", all, [](T a, T b) { return a + b; }, [c](u8 x, u8 y) { return c(x + y); });
  tnum_operator("-", all, [](T a, T b) { return a - b; }, [c](u8 x, u8 y) { return c(x - y); });
  tnum_operator("*", all, [](T a, T b) { return a * b; }, [c](u8 x, u8 y) { return c(x * y); });
  tnum_operator("&", all, [](T a, T b) { return a & b; }, [c](u8 x, u8 y) { return c(x & y); });
  tnum_operator("|", all, [](T a, T b) { return a | b; }, [c](u8 x, u8 y) { return c(x | y); });
  tnum_operator("^", all, [](T a, T b) { return a ^ b; }, [c](u8 x, u8 y) { return c(x ^ y); });
  // Operators on one Tnum: the second is the count, where it is known.
  const auto counted = [](auto&& f) {
    return [f](T a, T b) { return b.is_const() && b.value < 8 ? f(a, b.value) : T::unknown(); };
  };
  tnum_operator("<<", all, counted([](T a, u8 n) { return a.shifted_left(n); }),
                [c](u8 x, u8 y) { return c(x << (y & 7)); });
  tnum_operator(">>", all, counted([](T a, u8 n) { return a.shifted_right(n); }),
                [c](u8 x, u8 y) { return c(x >> (y & 7)); });
  tnum_operator("s>>", all, counted([](T a, u8 n) { return a.shifted_right_signed(n); }),
                [c](u8 x, u8 y) { return c(static_cast<s8>(x) >> (y & 7)); });
  tnum_operator("low bits", all, counted([](T a, u8 n) { return a.low(n); }),
                [c](u8 x, u8 y) { return c(x & ((1 << (y & 7)) - 1)); });
  for (const T& a : all.all)
    for (const T& b : all.all) {
      T both = a;
      const bool possible = both.intersect(b);
      // Members agree on every bit that both know: the join with a common member changes nothing.
      if (possible ? !a.includes(both) || !b.includes(both) : ((a.value ^ b.value) & ~a.mask & ~b.mask) == 0)
        violation("intersect: ({:#x}, {:#x}) and ({:#x}, {:#x})", a.value, a.mask, b.value, b.mask);
      if (possible && (both.mask != (a.mask & b.mask)))
        violation("intersect loses members: ({:#x}, {:#x}) and ({:#x}, {:#x})", a.value, a.mask, b.value, b.mask);
      const T joined = a.join(b);
      if (!joined.includes(a) || !joined.includes(b) || (joined.mask & ~(a.mask | b.mask | (a.value ^ b.value))) != 0)
        violation("join: ({:#x}, {:#x}) and ({:#x}, {:#x})", a.value, a.mask, b.value, b.mask);
      judged++;
    }
}

// --- 64 and 32 bits ---

using Random = std::mt19937_64;

u64 number(Random& random) {
  constexpr u64 corners[] = {0,
                             1,
                             0x7fffffff,
                             0x80000000,
                             0xffffffff,
                             0x100000000,
                             0x7fffffffffffffff,
                             0x8000000000000000,
                             0xffffffff80000000,
                             ~u64{0}};
  const u64 r = random();
  switch (r % 4) {
    case 0:
      return corners[r / 4 % 10] + r / 64 % 5 - 2;
    case 1:
      return (random() >> (r / 4 % 64)) * (r % 8 < 4 ? 1 : ~u64{0});
    default:
      return random() >> (r / 4 % 64);
  }
}

/// A scalar that holds `member` and another number, by some of its views.
Scalar around(u64 member, Random& random) {
  const u64 shape = random();
  if (shape % 8 == 0) return Scalar::of(member);
  const u64 other = shape % 3 != 0 ? member + (random() >> (shape / 8 % 64)) : number(random);
  Scalar s;
  if (shape >> 8 & 3) {
    if (shape >> 10 & 1) s.wide.umin = std::min(member, other), s.wide.umax = std::max(member, other);
    if (shape >> 11 & 1) {
      const s64 a = static_cast<s64>(member), b = static_cast<s64>(other);
      s.wide.smin = std::min(a, b), s.wide.smax = std::max(a, b);
    }
  }
  if (shape >> 12 & 1) {
    const u32 a = static_cast<u32>(member), b = static_cast<u32>(other);
    if (shape >> 13 & 1) s.narrow.umin = std::min(a, b), s.narrow.umax = std::max(a, b);
    if (shape >> 14 & 1) {
      s.narrow.smin = std::min(static_cast<s32>(a), static_cast<s32>(b));
      s.narrow.smax = std::max(static_cast<s32>(a), static_cast<s32>(b));
    }
  }
  if (shape >> 15 & 1) {
    const u64 mask = random() & (shape >> 16 & 1 ? random() : ~u64{0});
    s.bits = {member & ~mask, mask};
  }
  if (!s.normalise() || !s.contains(member)) violation("normalise loses {:#x}", member);
  return s;
}

void random_pair(Random& random) {
  const u64 x = number(random), y = random() % 4 == 0 ? x + random() % 5 - 2 : number(random);
  const Scalar a = around(x, random), b = around(y, random);
  const u64 choice = random();
  const Alu op = operators[choice % std::size(operators)];
  if (!alu(op, a, b, true).contains(isa::calculate<u64>(op, x, y)))
    violation("64-bit {} of {:#x} and {:#x}", names[static_cast<u8>(op)], x, y);
  const u32 low = isa::calculate<u32>(op, static_cast<u32>(x), static_cast<u32>(y));
  if (!alu(op, a, b, false).contains(low)) violation("32-bit {} of {:#x} and {:#x}", names[static_cast<u8>(op)], x, y);

  const Compare c = comparisons[choice / 16 % std::size(comparisons)];
  for (const bool wide : {true, false}) {
    const bool holds = wide ? isa::holds<u64>(c, x, y) : isa::holds<u32>(c, static_cast<u32>(x), static_cast<u32>(y));
    const Decision decision = decide(c, a, b, wide);
    if (decision == (holds ? Decision::never : Decision::always))
      violation("comparison {} of {:#x} and {:#x}", static_cast<int>(c), x, y);
    Scalar left = a, right = b;
    if (!refine(c, left, right, wide, holds) || !left.contains(x) || !right.contains(y))
      violation("comparison {} ({} bits) of {:#x} and {:#x}: refined too far", static_cast<int>(c), wide ? 64 : 32, x,
                y);
  }
  const unsigned bits = 8u << (choice / 256 % 3);
  const u64 cut = bits == 64 ? x : x & ((u64{1} << bits) - 1);
  const u64 extended = static_cast<u64>(static_cast<s64>(x << (64 - bits)) >> (64 - bits));
  if (!truncated(a, bits).contains(cut)) violation("truncated to {}: {:#x}", bits, x);
  if (!sign_extended(a, bits, true).contains(extended)) violation("sign extended from {}: {:#x}", bits, x);
  if (!sign_extended(a, bits, false).contains(static_cast<u32>(extended)))
    violation("32-bit sign extended from {}: {:#x}", bits, x);
  if (a.includes(b) && !a.contains(y)) violation("includes: {:#x}", y);
  judged++;
}

int run(bool full, u64 pairs, u64 seed) {
  const auto start = std::chrono::steady_clock::now();
  tnums(full ? 8 : 5);
  arithmetic_of_ranges(full ? 1 : 25);
  comparisons_of_ranges(full ? 3 : 37);
  Random random(seed);
  for (u64 n = 1; n <= pairs; n++) {
    random_pair(random);
    if (n % 100'000'000 == 0) fmt::print("{} random pairs\n", n), std::fflush(stdout);
  }
  fmt::print("{} random pairs at 64 and 32 bits (seed {})\n", pairs, seed);
  fmt::print("{} pairs in {:.0f} s, {} violations\n", judged,
             std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), violations);
  return violations == 0 ? 0 : 1;
}

}  // namespace
}  // namespace skep::verify

int main(int argc, char** argv) {
  bool full = false;
  skep::u64 pairs = 200'000, seed = 20260801;
  for (int i = 1; i < argc; i++) {
    const std::string_view option = argv[i];
    if (option == "--full")
      full = true, pairs = 1'000'000'000;
    else if (option == "--pairs" && i + 1 < argc)
      pairs = std::strtoull(argv[++i], nullptr, 10);
    else if (option == "--seed" && i + 1 < argc)
      seed = std::strtoull(argv[++i], nullptr, 10);
    else
      return fmt::print(stderr, "unknown option {}; see the head of tests/domain/prove.cpp\n", option), 2;
  }
  return skep::verify::run(full, pairs, seed);
}
