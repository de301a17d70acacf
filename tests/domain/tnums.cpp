// Known bits: every pair of Tnums of some bits. What an operator may give for a pair with an unknown bit is the join of
// the two pairs with one unknown bit fewer, so one new value decides each pair.
#include "machine8.hpp"
#include "prove.hpp"
#include "verify/domain/tnum.hpp"

namespace skep::verify {
namespace {

using T = BasicTnum<u8>;

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
void judge_operator(std::string_view name, u32 bits, Abstract abstract, Concrete concrete, Tally& tally) {
  const Tnums tnums(bits);
  const auto count = static_cast<u32>(tnums.all.size());
  std::vector<T> best(static_cast<std::size_t>(count) * count);  // the tightest result of a pair
  u64 optimal = 0;
  for (u32 a = 0; a < count; a++)
    for (u32 b = 0; b < count; b++) {
      const auto at = [&](u32 x, u32 y) -> T& { return best[static_cast<std::size_t>(x) * count + y]; };
      T& mine = at(a, b);
      if (tnums.low[a] != a)
        mine = at(tnums.low[a], b).join(at(tnums.high[a], b));
      else if (tnums.low[b] != b)
        mine = at(a, tnums.low[b]).join(at(a, tnums.high[b]));
      else
        mine = T::of(static_cast<u8>(concrete(tnums.all[a].value, tnums.all[b].value)));
      const T r = abstract(tnums.all[a], tnums.all[b]);
      optimal += r == mine;
      if ((r.value & r.mask) != 0 || !r.includes(mine))
        tally.violation("{}: ({:#x}, {:#x}) and ({:#x}, {:#x})", name, tnums.all[a].value, tnums.all[a].mask,
                        tnums.all[b].value, tnums.all[b].mask);
    }
  tally.judged += best.size();
  tally.note = fmt::format("{:.1f} % as tight as can be",
                           100.0 * static_cast<double>(optimal) / static_cast<double>(best.size()));
}

void judge_meets_and_joins(u32 bits, Tally& tally) {
  const Tnums tnums(bits);
  for (const T& a : tnums.all)
    for (const T& b : tnums.all) {
      T both = a;
      const bool possible = both.intersect(b);
      // Members agree on every bit that both know: the join with a common member changes nothing.
      if (possible ? !a.includes(both) || !b.includes(both) : ((a.value ^ b.value) & ~a.mask & ~b.mask) == 0)
        tally.violation("intersect: ({:#x}, {:#x}) and ({:#x}, {:#x})", a.value, a.mask, b.value, b.mask);
      if (possible && (both.mask != (a.mask & b.mask)))
        tally.violation("intersect loses members: ({:#x}, {:#x}) and ({:#x}, {:#x})", a.value, a.mask, b.value, b.mask);
      const T joined = a.join(b);
      if (!joined.includes(a) || !joined.includes(b) || (joined.mask & ~(a.mask | b.mask | (a.value ^ b.value))) != 0)
        tally.violation("join: ({:#x}, {:#x}) and ({:#x}, {:#x})", a.value, a.mask, b.value, b.mask);
      tally.judged++;
    }
}

}  // namespace

void add_tnums(std::vector<Task>& tasks, u32 bits) {
  const auto add = [&](std::string_view name, auto abstract, auto concrete) {
    tasks.push_back({fmt::format("{} of known bits, {} bits", name, bits),
                     [=](Tally& tally) { judge_operator(name, bits, abstract, concrete, tally); }});
  };
  add("+", [](T a, T b) { return a + b; }, [](u8 x, u8 y) { return x + y; });
  add("-", [](T a, T b) { return a - b; }, [](u8 x, u8 y) { return x - y; });
  add("*", [](T a, T b) { return a * b; }, [](u8 x, u8 y) { return x * y; });
  add("&", [](T a, T b) { return a & b; }, [](u8 x, u8 y) { return x & y; });
  add("|", [](T a, T b) { return a | b; }, [](u8 x, u8 y) { return x | y; });
  add("^", [](T a, T b) { return a ^ b; }, [](u8 x, u8 y) { return x ^ y; });
  // Operators on one Tnum: the second is the count, where it is known.
  const auto counted = [](auto&& f) {
    return [f](T a, T b) { return b.is_const() && b.value < 8 ? f(a, b.value) : T::unknown(); };
  };
  add("<<", counted([](T a, u8 n) { return a.shifted_left(n); }), [](u8 x, u8 y) { return x << (y & 7); });
  add(">>", counted([](T a, u8 n) { return a.shifted_right(n); }), [](u8 x, u8 y) { return x >> (y & 7); });
  add("s>>", counted([](T a, u8 n) { return a.shifted_right_signed(n); }),
      [](u8 x, u8 y) { return static_cast<s8>(x) >> (y & 7); });
  add("low bits", counted([](T a, u8 n) { return a.low(n); }), [](u8 x, u8 y) { return x & ((1 << (y & 7)) - 1); });
  tasks.push_back({fmt::format("meets and joins of known bits, {} bits", bits),
                   [bits](Tally& tally) { judge_meets_and_joins(bits, tally); }});
}

}  // namespace skep::verify
