// Ranges of 8 bits: every pair of them, in both orders, against what the machine computes from their members.
//
// For all members of all pairs this would be 256^6 questions. But what the machine computes from [a1, a2] x [b1, b2] is
// what it computes from [a1, a2 - 1] x [b1, b2] and from a2 and [b1, b2]; so with b1 fixed and a2 growing, one row of
// 256 results of a2 is joined into a row for each a1, and every pair of ranges is judged once, as it is complete. Rows
// are arrays of bytes of each bound, so that the compiler joins 16 ranges at a time: nearly all of the time is spent in
// the verifier's own code.
#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "machine8.hpp"
#include "prove.hpp"
#include "verify/domain/scalar_compare.hpp"

namespace skep::verify {
namespace {

using isa::Alu;
using isa::Compare;
using Range = Interval<u8>;

constexpr u32 numbers = 256;
using Bytes = std::array<u8, numbers>;

/// Signed numbers in unsigned order.
constexpr u8 biased(u8 n) { return n ^ 0x80; }

void take_smaller(Bytes& into, const Bytes& from) {
  for (u32 i = 0; i < numbers; i++) into[i] = std::min(into[i], from[i]);
}
void take_larger(Bytes& into, const Bytes& from) {
  for (u32 i = 0; i < numbers; i++) into[i] = std::max(into[i], from[i]);
}

/// The smallest and largest of some numbers, in both orders.
struct Hull {
  u8 umin = 255, umax = 0, smin = 255, smax = 0;  ///< the last two biased
  void add(u8 n) {
    umin = std::min(umin, n), umax = std::max(umax, n);
    smin = std::min(smin, biased(n)), smax = std::max(smax, biased(n));
  }
  bool inside(const Range& r) const {
    return umin > umax || (r.umin <= umin && umax <= r.umax && biased(static_cast<u8>(r.smin)) <= smin &&
                           smax <= biased(static_cast<u8>(r.smax)));
  }
};

/// Hulls by the end of the second range.
class Hulls {
 public:
  Hulls() { umin_.fill(255), umax_.fill(0), smin_.fill(255), smax_.fill(0); }
  void set(u32 i, const Hull& h) { umin_[i] = h.umin, umax_[i] = h.umax, smin_[i] = h.smin, smax_[i] = h.smax; }
  Hull at(u32 i) const { return {umin_[i], umax_[i], smin_[i], smax_[i]}; }
  void add(const Hulls& o) {
    take_smaller(umin_, o.umin_), take_larger(umax_, o.umax_);
    take_smaller(smin_, o.smin_), take_larger(smax_, o.smax_);
  }

 private:
  Bytes umin_, umax_, smin_, smax_;
};

/// The numbers in the order whose ranges are meant, and those ranges.
struct Order {
  bool is_signed = false;
  u8 number(u32 i) const { return is_signed ? biased(static_cast<u8>(i)) : static_cast<u8>(i); }
  Range range(u32 low, u32 high) const {
    return is_signed ? Range::signed_range(static_cast<s8>(number(low)), static_cast<s8>(number(high)))
                     : Range::unsigned_range(number(low), number(high));
  }
};

/// `fill(a, b1, row)` makes the row of a number and all ranges from b1 on; `judge(A, B, row, b2)` decides a pair of
/// ranges: what `made(range)` makes of them, and what `row` has at b2.
template <class Row, class Made, class Fill, class Judge>
u64 every_pair_of_ranges(const Order& order, u32 stride, Made&& made, Fill&& fill, Judge&& judge) {
  using Operand = decltype(made(Range{}));
  std::vector<Operand> a(std::size_t{numbers} * numbers), b(numbers);
  for (u32 low = 0; low < numbers; low++)
    for (u32 high = low; high < numbers; high++) a[low * numbers + high] = made(order.range(low, high));
  u64 judged = 0;
  std::vector<Row> rows(numbers);
  for (u32 b1 = 0; b1 < numbers; b1 += stride) {
    std::copy_n(a.begin() + b1 * numbers, numbers, b.begin());
    rows.assign(numbers, {});
    for (u32 a2 = 0; a2 < numbers; a2++) {
      Row row;
      fill(order.number(a2), b1, row);
      for (u32 a1 = 0; a1 <= a2; a1++) {
        rows[a1].add(row);
        if ((a1 % stride != 0 || a2 % stride != 0) && a2 != numbers - 1) continue;
        for (u32 b2 = b1; b2 < numbers; b2++) judge(a[a1 * numbers + a2], b[b2], rows[a1], b2);
        judged += numbers - b1;
      }
    }
  }
  return judged;
}

View<u8> view_of(const Range& range) { return {BasicTnum<u8>::range(range.umin, range.umax), range}; }

template <Alu op>
void arithmetic(const Order& order, u32 stride, Tally& tally) {
  tally.judged = every_pair_of_ranges<Hulls>(
      order, stride, view_of,
      [&](u8 x, u32 b1, Hulls& row) {
        Hull hull;
        for (u32 b2 = b1; b2 < numbers; b2++) hull.add(machine8(op, x, order.number(b2))), row.set(b2, hull);
      },
      [&](const View<u8>& a, const View<u8>& b, const Hulls& row, u32 b2) {
        const View<u8> r = apply(op, a, b);
        const Hull hull = row.at(b2);
        if (hull.inside(r.range) && r.bits.contains(hull.umin) && r.bits.contains(hull.umax)) return;
        tally.violation("{}: [{}, {}] and [{}, {}] give [{}, {}], not within [{}, {}] {}..{}", name_of(op),
                        a.range.umin, a.range.umax, b.range.umin, b.range.umax, hull.umin, hull.umax, r.range.umin,
                        r.range.umax, r.range.smin, r.range.smax);
      });
}

/// Which outcomes a comparison has on a pair of ranges, and the members for which it has the one that is refined.
class Outcomes {
 public:
  Outcomes() { other_.fill(0); }
  Hulls left, right;
  bool other_happens(u32 i) const { return other_[i] != 0; }
  void set_other(u32 i) { other_[i] = 1; }
  void add(const Outcomes& o) {
    left.add(o.left), right.add(o.right);
    take_larger(other_, o.other_);
  }

 private:
  Bytes other_;
};

/// The upper halves are unknown: a comparison of low halves.
using Small = BasicScalar<u16, u8>;

struct Compared {
  View<u8> view;
  Small number;
  bool is_empty = false;
};

template <Compare c, bool outcome>
void comparison(const Order& order, u32 stride, Tally& tally) {
  const auto made = [&](const Range& range) {
    Compared operand{view_of(range), {}, false};
    operand.number.narrow = range;
    operand.is_empty = !operand.number.normalise();
    return operand;
  };
  tally.judged = every_pair_of_ranges<Outcomes>(
      order, stride, made,
      [&](u8 x, u32 b1, Outcomes& row) {
        Hull left, right;
        bool other = false;
        for (u32 b2 = b1; b2 < numbers; b2++) {
          const u8 y = order.number(b2);
          if (holds8(c, x, y) == outcome)
            left.add(x), right.add(y);
          else
            other = true;
          row.left.set(b2, left), row.right.set(b2, right);
          if (other) row.set_other(b2);
        }
      },
      [&](const Compared& a, const Compared& b, const Outcomes& row, u32 b2) {
        const Hull left = row.left.at(b2);
        const bool happens = left.umin <= left.umax;
        const auto wrong = [&](std::string_view what) {
          tally.violation("{} {}: [{}, {}] and [{}, {}] {}", name_of(c), outcome, a.view.range.umin, a.view.range.umax,
                          b.view.range.umin, b.view.range.umax, what);
        };
        const Decision decision = decide_view(c, a.view, b.view);
        constexpr Decision this_one = outcome ? Decision::always : Decision::never,
                           the_other = outcome ? Decision::never : Decision::always;
        if ((decision == this_one && row.other_happens(b2)) || (decision == the_other && happens))
          wrong("decided wrongly");
        if (a.is_empty || b.is_empty) wrong("taken for empty");
        if (!happens) return;
        Small x = a.number, y = b.number;
        if (!refine(c, x, y, false, outcome) || !left.inside(x.narrow) || !row.right.at(b2).inside(y.narrow))
          wrong("refined too far");
      });
}

std::string_view order_name(bool is_signed) { return is_signed ? "signed" : "unsigned"; }

using Judge = void (*)(const Order&, u32 stride, Tally&);

void add(std::vector<Task>& tasks, const std::string& name, u32 stride, Judge judge) {
  for (const bool is_signed : {false, true})
    tasks.push_back({fmt::format("{} of {} ranges, each {}", name, order_name(is_signed), stride),
                     [=](Tally& tally) { judge({is_signed}, stride, tally); }});
}

}  // namespace

void add_arithmetic(std::vector<Task>& tasks, u32 stride) {
  [&]<std::size_t... i>(std::index_sequence<i...>) {
    (add(tasks, std::string(name_of(operators[i])), stride, arithmetic<operators[i]>), ...);
  }(std::make_index_sequence<std::size(operators)>{});
}

/// The second outcome of most is the first of another comparison, so that a grid of it is enough.
void add_comparisons(std::vector<Task>& tasks, u32 stride) {
  constexpr u32 grid = 3;
  [&]<std::size_t... i>(std::index_sequence<i...>) {
    ((add(tasks, fmt::format("{} taken", name_of(comparisons[i])), stride, comparison<comparisons[i], true>),
      add(tasks, fmt::format("{} passed", name_of(comparisons[i])),
          comparisons[i] == Compare::set ? stride : std::max(stride, grid), comparison<comparisons[i], false>)),
     ...);
  }(std::make_index_sequence<std::size(comparisons)>{});
}

}  // namespace skep::verify
