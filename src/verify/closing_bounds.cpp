// See closing_bounds.hpp.
//
// With m = hi - lo at the head, everything of interest is lo + x(m) + c with x(m) one of 0, m, floor(m / 2) and
// ceil(m / 2). A round leads from m to m' = x(m) - y(m) + d, and m' < m for every m from some least one on if that is
// so for that one and the next: x - y is at most m. Numbers are integers, of which a register holds the low 32 bits or
// (is_whole) all 64. They stay small: what is compared or halved is within 32 bits with a sign.
//
// A loop that compares at its end knows nothing of m when it is entered. What it compared holds from the second round
// on, if the numbers that were compared are those that lo and hi hold when the head is reached: the same values, by
// name, as no instruction computed anew. What they are in terms of the head's is no reason: that is right only if m was
// in order.
#include "verify/closing_bounds.hpp"

#include <algorithm>
#include <map>
#include <vector>

namespace skep::verify {

using isa::Alu;
using isa::Compare;
using isa::Form;

namespace {

constexpr s64 unknown_least = INT64_MIN;
constexpr s64 largest = s64{1} << 29;   ///< bounds of lo and hi
constexpr s64 farthest = s64{1} << 16;  ///< constants
constexpr s64 halve(s64 v) { return v >> 1; }
constexpr s64 halve_up(s64 v) { return (v + 1) >> 1; }

/// A number in terms of those at the head.
struct Term {
  enum class What : u8 { nothing, number, lo, hi, middle, middle_up, sum, gap, half_gap, half_gap_up };
  What what = What::nothing;
  bool is_whole = false;    ///< all 64 bits of the register, as a number with a sign
  bool is_shifted = false;  ///< times 2^32
  s64 plus = 0;
  u32 name = 0, low_name = 0;  ///< of the value in all 64 bits, in the low 32: equal names are equal values; 0: none
  friend bool operator==(const Term&, const Term&) = default;
};
using What = Term::What;

/// Where nothing is known of a register's number: what is left of the names of its value.
constexpr Term only_named(const Term& t, bool is_whole_value) {
  return {.name = is_whole_value ? t.name : 0, .low_name = t.low_name};
}

struct Span {
  s64 low = 0, high = 0;
};

struct TermArithmetic {
  using Value = Term;
  Span lo, hi;                ///< at the head
  s64 least = unknown_least;  ///< of hi - lo, as is known on this way

  Span span(const Term& t) const {
    s64 l0 = lo.low, l1 = lo.high, h0 = hi.low, h1 = hi.high, m0 = h0 - l1;
    if (least != unknown_least) {
      m0 = std::max(m0, least);
      h0 = std::max(h0, l0 + m0);
      l1 = std::min(l1, h1 - m0);
    }
    const s64 m1 = h1 - l0;
    const auto plus = [&t](s64 low, s64 high) { return Span{low + t.plus, high + t.plus}; };
    switch (t.what) {
      case What::nothing:
        break;
      case What::number:
        return plus(0, 0);
      case What::lo:
        return plus(l0, l1);
      case What::hi:
        return plus(h0, h1);
      case What::middle:
        return plus(l0 + halve(m0), h1 - halve_up(m0));
      case What::middle_up:
        return plus(l0 + halve_up(m0), h1 - halve(m0));
      case What::sum:
        return plus(l0 + h0, l1 + h1);
      case What::gap:
        return plus(m0, m1);
      case What::half_gap:
        return plus(halve(m0), halve(m1));
      case What::half_gap_up:
        return plus(halve_up(m0), halve_up(m1));
    }
    return {INT64_MIN, INT64_MAX};
  }
  bool is_no_less_than_zero(const Term& t) const { return span(t).low >= 0; }

  /// The result of a 64-bit instruction is exact where its operands were; one of 32 bits clears the upper half.
  Term result(Term t, bool is_wide) const {
    if (t.plus > farthest || t.plus < -farthest) return {};
    if (!is_wide) t.is_whole = is_no_less_than_zero(t);
    return t;
  }
  Term low_half(Term t) const {
    t.name = 0;
    return t.is_shifted || t.what == What::nothing ? only_named(t, false) : result(t, false);
  }
  Term stored_half(Term t) const {
    t.name = 0;
    t.is_whole = false;
    return t.is_shifted ? only_named(t, false) : t;
  }
  Term sign_extended(Term t) const {
    t.name = 0;
    t.is_whole = true;
    return t.is_shifted || t.what == What::nothing ? only_named(t, false) : t;
  }

  Term immediate(Alu op, bool is_wide, Term t, s32 imm) const {
    if (t.what == What::nothing) return {};
    t.name = t.low_name = 0;
    switch (op) {
      case Alu::add:
      case Alu::sub:
        if (t.is_shifted) return {};
        t.plus += op == Alu::add ? s64{imm} : -s64{imm};
        return result(t, is_wide);
      case Alu::lsh:
        if (!is_wide || imm != 32 || t.is_shifted) return {};
        t.is_shifted = true;
        return t;
      case Alu::rsh:
      case Alu::arsh:
        return shifted_right(op == Alu::arsh, is_wide, t, static_cast<u32>(imm));
      case Alu::div:
        return imm == 2 && !t.is_shifted ? shifted_right(false, is_wide, t, 1) : Term{};
      default:
        return {};
    }
  }

  Term shifted_right(bool keeps_sign, bool is_wide, Term t, u32 by) const {
    if (t.is_shifted) {
      if (!is_wide || by < 32) return {};
      t.is_shifted = false;
      t.is_whole = keeps_sign || is_no_less_than_zero(t);
      if (by == 32) return t;
      by -= 32;
    } else if (is_wide && !t.is_whole) {
      return {};
    }
    // From here on the number is whole, or the instruction looks at its low half only.
    if (!keeps_sign && !is_no_less_than_zero(t)) return {};
    if (by == 1) return result(half(t), is_wide);
    const bool is_sign = by == 31 || (is_wide && by == 63);
    return !keeps_sign && is_sign ? Term{What::number, true, false, 0} : Term{};
  }

  static Term half(Term t) {
    const bool is_odd = (t.plus & 1) != 0;
    t.plus = halve(t.plus);
    switch (t.what) {
      case What::number:
        return t;
      case What::sum:
        t.what = is_odd ? What::middle_up : What::middle;
        return t;
      case What::gap:
        t.what = is_odd ? What::half_gap_up : What::half_gap;
        return t;
      default:
        return {};
    }
  }

  Term registers(Alu op, bool is_wide, const Term& a, const Term& b) const {
    if (a.what == What::nothing || b.what == What::nothing || a.is_shifted || b.is_shifted) return {};
    if (op != Alu::add && op != Alu::sub) return {};
    Term t;
    t.what = op == Alu::add ? sum(a.what, b.what) : difference(a.what, b.what);
    if (t.what == What::nothing) return {};
    t.plus = op == Alu::add ? a.plus + b.plus : a.plus - b.plus;
    t.is_whole = a.is_whole && b.is_whole;
    return result(t, is_wide);
  }
  static What sum(What a, What b) {
    if (a > b) std::swap(a, b);
    if (a == What::number) return b;
    if (a == What::lo && b == What::hi) return What::sum;
    if (a == What::lo && b == What::gap) return What::hi;
    if (a == What::lo && b == What::half_gap) return What::middle;
    if (a == What::lo && b == What::half_gap_up) return What::middle_up;
    return What::nothing;
  }
  static What difference(What a, What b) {
    if (b == What::number) return a;
    if (a == What::hi && b == What::lo) return What::gap;
    if (a == What::hi && b == What::gap) return What::lo;
    if (a == What::hi && b == What::half_gap) return What::middle_up;
    if (a == What::hi && b == What::half_gap_up) return What::middle;
    return What::nothing;
  }
};

/// What a comparison said of two values, by their names: `larger` - `smaller` is at least `least`.
struct Fact {
  u32 smaller = 0, larger = 0;
  bool is_wide = false, is_unsigned = false;
  s64 least = 0;
  friend bool operator==(const Fact&, const Fact&) = default;
};

/// One way through the round, up to somewhere.
struct Way {
  std::array<Term, counter_places> now{};
  s64 least = unknown_least;  ///< of hi - lo at the head
  std::vector<Fact> facts;    ///< the last few
  friend bool operator==(const Way&, const Way&) = default;
};

class PairRanker {
 public:
  PairRanker(const LoopBody& loop, const TouchedSlots& touched, u32 lo, u32 hi, const TermArithmetic& bounds,
             bool lo_is_whole, bool hi_is_whole, u32& steps_left)
      : loop_(loop), touched_(touched), lo_(lo), hi_(hi), bounds_(bounds), steps_left_(steps_left) {
    constexpr u32 lo_name = ~u32{0}, hi_name = ~u32{1};
    first_.now[lo] = {What::lo, lo_is_whole, false, 0, lo_name, lo_name};
    first_.now[hi] = {What::hi, hi_is_whole, false, 0, hi_name, hi_name};
    are_whole_ = lo_is_whole && hi_is_whole;
    have_no_sign_ = bounds.lo.low >= 0 && bounds.hi.low >= 0;
  }

  /// Whether hi - lo shrinks in every round. `assumed`: what it is at least at the head, seen to hold again whenever
  /// the head is reached; so from the second round on. unknown_least: nothing.
  bool shrinks(s64 assumed) {
    constexpr std::size_t most_ways = 32;
    known_.clear();
    work_.clear();
    assumed_ = assumed;
    least_ = INT64_MAX;
    first_.least = assumed;
    if (!follow(loop_.head(), first_, true)) return false;
    while (!work_.empty()) {
      auto [at, way] = std::move(work_.back());
      work_.pop_back();
      if (known_[at].size() > most_ways || !follow(at, way, false)) return false;
    }
    return least_ != INT64_MAX;
  }
  /// After that: what hi - lo was at least in a round.
  s64 least() const { return least_; }

 private:
  /// From `at` to where ways part or meet.
  bool follow(u32 at, Way way, bool is_start) {
    for (;; is_start = false) {
      if (at == loop_.head() && !is_start) return comes_round(way);
      if (steps_left_ == 0) return false;
      steps_left_--;
      const Form form = loop_.form(at);
      if (isa::is_conditional(form)) return branch(at, way);
      TermArithmetic arithmetic = bounds_;
      arithmetic.least = way.least;
      Round<TermArithmetic>(loop_, touched_, arithmetic).step(at, way.now);
      name_result(at, way);
      const Successors ways = loop_.ways(at);
      if (ways.count == 0 || !loop_.is_inside(ways.insns[0])) return true;  // it leaves the loop
      at = ways.insns[0];
      if (at != loop_.head() && loop_.facts(at).is_join && !isa::is_conditional(loop_.form(at))) {
        put(at, way);
        return true;
      }
    }
  }

  /// What the instruction computed is a new value; what it computed in an earlier round of a loop inside is no more the
  /// value of that name.
  void name_result(u32 at, Way& way) const {
    const Form form = loop_.form(at);
    const bool computes = form == Form::alu_imm || form == Form::alu_reg || form == Form::alu_unary ||
                          form == Form::movsx || form == Form::load;
    if (!computes || loop_.insn(at).dst >= counter_registers) return;
    const u32 fresh = at + 1;
    for (Term& t : way.now) {
      if (t.name == fresh) t.name = 0;
      if (t.low_name == fresh) t.low_name = 0;
    }
    std::erase_if(way.facts, [fresh](const Fact& f) { return f.smaller == fresh || f.larger == fresh; });
    Term& result = way.now[loop_.insn(at).dst];
    if (result.name == 0) result.name = fresh;
    if (result.low_name == 0) result.low_name = fresh;
  }

  void put(u32 at, const Way& way) {
    auto& known = known_[at];
    if (std::ranges::find(known, way) != known.end()) return;
    known.push_back(way);
    work_.push_back({at, way});
  }

  bool branch(u32 at, const Way& way) {
    const Successors all = successors(loop_.explored().program, loop_.explored().analysis, at);
    const Successors taken = loop_.ways(at);
    for (u32 w = 0; w < all.count; w++) {
      const u32 to = all.insns[w];
      if (std::ranges::find(taken, to) == taken.end() || !loop_.is_inside(to)) continue;
      Way after = way;
      if (loop_.form(at) == Form::jump_reg && all.insns[0] != all.insns[1]) learn(at, w == 1, after);
      if (to != loop_.head())
        put(to, after);
      else if (!comes_round(after))
        return false;
    }
    return true;
  }

  /// What it means that the jump at `at` was taken, or not.
  void learn(u32 at, bool is_taken, Way& way) const {
    const Insn& i = loop_.insn(at);
    const Term a = Round<TermArithmetic>::of_register(i.dst, way.now);
    const Term b = Round<TermArithmetic>::of_register(i.src, way.now);
    bool is_unsigned = false;
    switch (isa::compare_of(loop_.facts(at).op)) {
      case Compare::lt:
        is_unsigned = true;
        [[fallthrough]];
      case Compare::slt:
        return is_taken ? note(at, is_unsigned, a, b, 1, way) : note(at, is_unsigned, b, a, 0, way);
      case Compare::le:
        is_unsigned = true;
        [[fallthrough]];
      case Compare::sle:
        return is_taken ? note(at, is_unsigned, a, b, 0, way) : note(at, is_unsigned, b, a, 1, way);
      case Compare::gt:
        is_unsigned = true;
        [[fallthrough]];
      case Compare::sgt:
        return is_taken ? note(at, is_unsigned, b, a, 1, way) : note(at, is_unsigned, a, b, 0, way);
      case Compare::ge:
        is_unsigned = true;
        [[fallthrough]];
      case Compare::sge:
        return is_taken ? note(at, is_unsigned, b, a, 0, way) : note(at, is_unsigned, a, b, 1, way);
      case Compare::eq:
      case Compare::ne:
      case Compare::set:
        return;
    }
  }

  void note(u32 at, bool is_unsigned, const Term& smaller, const Term& larger, s64 least, Way& way) const {
    constexpr std::size_t most_facts = 4;
    const bool is_wide = loop_.facts(at).code_class == isa::class_jmp;
    TermArithmetic known = bounds_;
    known.least = way.least;
    const auto is_number = [&](const Term& t) {
      return !t.is_shifted && (!is_wide || t.is_whole) && (!is_unsigned || known.is_no_less_than_zero(t));
    };
    if (smaller.what == What::lo && larger.what == What::hi && is_number(smaller) && is_number(larger))
      way.least = std::max(way.least, least + smaller.plus - larger.plus);
    const Fact fact{is_wide ? smaller.name : smaller.low_name, is_wide ? larger.name : larger.low_name, is_wide,
                    is_unsigned, least};
    if (fact.smaller == 0 || fact.larger == 0) return;
    if (way.facts.size() == most_facts) way.facts.erase(way.facts.begin());
    way.facts.push_back(fact);
  }

  bool comes_round(const Way& way) {
    const Term &lo = way.now[lo_], &hi = way.now[hi_];
    if (way.least == unknown_least) return false;
    if (assumed_ != unknown_least && !is_at_least(way, lo, hi, assumed_)) return false;
    least_ = std::min(least_, way.least);
    const auto shrinks_from = [&](s64 m) {
      const auto low = distance(lo.what, m), high = distance(hi.what, m);
      return low && high && *high + hi.plus - (*low + lo.plus) < m;
    };
    return !lo.is_shifted && !hi.is_shifted && shrinks_from(way.least) && shrinks_from(way.least + 1);
  }

  /// From lo at the head, if hi - lo is m there.
  static std::optional<s64> distance(What what, s64 m) {
    switch (what) {
      case What::lo:
        return 0;
      case What::hi:
        return m;
      case What::middle:
        return halve(m);
      case What::middle_up:
        return halve_up(m);
      default:
        return std::nullopt;
    }
  }

  /// Whether a comparison on the way says so of the values that lo and hi hold now, whatever they are. At the head both
  /// are small: as 32-bit numbers with a sign, if need be without one, and in 64 bits where they are whole.
  bool is_at_least(const Way& way, const Term& lo, const Term& hi, s64 least) const {
    return std::ranges::any_of(way.facts, [&](const Fact& f) {
      const bool is_same =
          f.is_wide ? f.smaller == lo.name && f.larger == hi.name : f.smaller == lo.low_name && f.larger == hi.low_name;
      return is_same && f.least >= least && (!f.is_wide || are_whole_) && (!f.is_unsigned || have_no_sign_);
    });
  }

  const LoopBody& loop_;
  const TouchedSlots& touched_;
  const u32 lo_, hi_;
  const TermArithmetic bounds_;
  bool are_whole_ = false, have_no_sign_ = false;  ///< lo and hi at the head
  u32& steps_left_;                                ///< for all pairs of the loop together
  Way first_;
  s64 assumed_ = unknown_least, least_ = INT64_MAX;
  std::map<u32, std::vector<Way>> known_;
  std::vector<std::pair<u32, Way>> work_;
};

/// A place whose number has a sign, or none, and is small.
struct Bound {
  u32 place = 0;
  bool is_whole = false;
  Span span;
};

std::optional<Bound> bound_of(u32 place, const std::optional<Scalar>& number) {
  if (!number || number->is_const()) return std::nullopt;
  const auto is_small = [](s64 low, s64 high) { return low >= -largest && high <= largest; };
  const Interval<u32>& narrow = number->narrow;
  const bool is_whole = is_small(number->wide.smin, number->wide.smax);
  if (narrow.umax <= largest) return Bound{place, is_whole, {narrow.umin, narrow.umax}};
  if (!is_small(narrow.smin, narrow.smax)) return std::nullopt;
  return Bound{place, is_whole, {narrow.smin, narrow.smax}};
}

}  // namespace

std::optional<u64> rounds_of_closing_bounds(const LoopBody& loop, const TouchedSlots& touched,
                                            const NumberAt& number_at) {
  constexpr std::size_t most_bounds = 16;
  u32 steps_left = 20'000;
  if (std::ranges::none_of(loop.insns(), [&](u32 i) { return loop.form(i) == Form::jump_reg; })) return std::nullopt;
  std::vector<Bound> bounds;
  for (u32 p = 0; p < counter_places && bounds.size() < most_bounds; p++) {
    if (p >= counter_registers && touched[p - counter_registers]) continue;
    if (const auto bound = bound_of(p, number_at(loop.head(), p))) bounds.push_back(*bound);
  }
  std::optional<u64> best;
  for (const Bound& lo : bounds)
    for (const Bound& hi : bounds) {
      if (lo.place == hi.place) continue;
      const TermArithmetic range{lo.span, hi.span};
      PairRanker pair(loop, touched, lo.place, hi.place, range, lo.is_whole, hi.is_whole, steps_left);
      if (!pair.shrinks(unknown_least) && !pair.shrinks(1) && !pair.shrinks(0)) continue;
      const s64 most = hi.span.high - lo.span.low, rounds = std::max<s64>(most - pair.least(), 0) + 2;
      if (!best || static_cast<u64>(rounds) < *best) best = static_cast<u64>(rounds);
    }
  return best;
}

}  // namespace skep::verify
