// See closing_bounds.hpp.
//
// A round leads from m = hi - lo to m' = y(m) - x(m) + d (closing_terms.hpp), and m' < m for every m from some least
// one on if that is so for that one and the next: where m grows by two, y grows by two at most and x does not shrink.
//
// A loop that compares at its end knows nothing of m when it is entered. What it compared holds from the second round
// on, if the numbers that were compared are those that lo and hi hold when the head is reached: the same values, by
// name, as no instruction computed anew. What they are in terms of the head's is no reason: that is right only if m was
// in order.
//
// What is equal at the head is known where it was seen only.
//
// All of this is said of small numbers. That lo and hi are small at the head is known from the states explored there,
// or, where those were joined until nothing was left of it (nobody sees that lo + (hi - lo) / 2 is no more than hi), it
// follows from how the loop is entered: lo never shrinks and hi never grows, and each ends up at the other at most. A
// round shows that of the next if it holds of this one.
#include "verify/closing_bounds.hpp"

#include <algorithm>
#include <vector>

#include "verify/closing_terms.hpp"
#include "verify/ways_round.hpp"

namespace skep::verify {

using isa::Compare;
using isa::Form;

namespace {

constexpr s64 largest = s64{1} << 29;  ///< bounds of lo and hi
using What = Term::What;

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

/// A place whose number has a sign, or none, and is small.
struct Bound {
  u32 place = 0;
  bool is_whole = false;
  Span span;
};

/// Why lo and hi lie in their spans whenever the head is reached: it was seen, or a round shows it of the next.
enum class Reason : u8 { seen, induction };

class PairRanker {
 public:
  PairRanker(const LoopBody& loop, const TouchedSlots& touched, const Alike& alike, const Bound& lo, const Bound& hi,
             Reason reason, u32& steps_left)
      : loop_(loop),
        touched_(touched),
        lo_(lo),
        hi_(hi),
        bounds_{lo.span, hi.span},
        reason_(reason),
        steps_left_(steps_left) {
    constexpr u32 lo_name = ~u32{0}, hi_name = ~u32{1};
    for (u32 p = 0; p < counter_places; p++) {
      if (alike[p] == alike[lo.place]) first_.now[p] = {What::lo, lo.is_whole, false, 0, lo_name, lo_name};
      if (alike[p] == alike[hi.place]) first_.now[p] = {What::hi, hi.is_whole, false, 0, hi_name, hi_name};
    }
    are_whole_ = lo.is_whole && hi.is_whole;
    have_no_sign_ = lo.span.low >= 0 && hi.span.low >= 0;
  }

  /// Whether hi - lo shrinks in every round. `assumed`: what it is at least at the head, seen to hold again whenever
  /// the head is reached; so from the second round on. unknown_least: nothing.
  bool shrinks(s64 assumed) {
    assumed_ = assumed;
    least_ = INT64_MAX;
    halves_ = true;
    most_plus_ = 0;
    first_.least = assumed;
    return RoundWays<PairRanker, Way>(loop_, *this, steps_left_).follow_all(first_) && least_ != INT64_MAX;
  }
  /// After that: how many rounds there are at most. Where each way halves the distance, it does not take long until
  /// that is a few times the constants.
  u64 rounds() const {
    constexpr s64 halvings = 80;  // of 2^31, by a quarter at least
    s64 most = hi_.span.high - lo_.span.low, before = 0;
    if (halves_) before = halvings, most = std::min(most, 4 * (most_plus_ + 1));
    return static_cast<u64>(before + std::max<s64>(most - least_, 0) + 2);
  }

  // --- what RoundWays asks ---
  void step(u32 at, Way& way) const {
    TermArithmetic arithmetic = bounds_;
    arithmetic.least = way.least;
    Round<TermArithmetic>(loop_, touched_, arithmetic).step(at, way.now);
    name_result(at, way);
  }

  /// What it means that the jump at `at` was taken, or not.
  void learn(u32 at, bool is_taken, Way& way) const {
    if (loop_.form(at) != Form::jump_reg) return;
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

  bool comes_round(const Way& way) {
    const Term &lo = way.now[lo_.place], &hi = way.now[hi_.place];
    if (way.least == unknown_least || lo.is_shifted || hi.is_shifted) return false;
    if (assumed_ != unknown_least && !is_at_least(way, lo, hi, assumed_)) return false;
    if (reason_ == Reason::induction && !stays_in_span(way.least, lo, hi)) return false;
    least_ = std::min(least_, way.least);
    const auto shrinks_from = [&](s64 m) {
      const auto low = distance(lo.what, m), high = distance(hi.what, m);
      return low && high && *high + hi.plus - (*low + lo.plus) < m;
    };
    const auto is_middle = [](const Term& t) { return t.what == What::middle || t.what == What::middle_up; };
    halves_ = halves_ && is_middle(lo) != is_middle(hi);
    most_plus_ = std::max(most_plus_, hi.plus - lo.plus);
    return shrinks_from(way.least) && shrinks_from(way.least + 1);
  }

 private:
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

  /// Whether the next round finds lo and hi in their spans if this one did, and found them `least` apart. lo does not
  /// shrink and hi does not grow; what either gains on the other is least where m is: both x(m) and m - x(m) grow with
  /// m.
  bool stays_in_span(s64 least, const Term& lo, const Term& hi) const {
    const auto x = distance(lo.what, least), y = distance(hi.what, least);
    if (!x || !y || *x + lo.plus < 0 || *y + hi.plus > least) return false;
    if ((lo_.is_whole && !lo.is_whole) || (hi_.is_whole && !hi.is_whole)) return false;
    const s64 above_hi = *x + lo.plus - least, below_lo = *y + hi.plus;
    return (lo.what == What::lo && lo.plus == 0 ? true : hi_.span.high + above_hi <= lo_.span.high) &&
           (hi.what == What::hi && hi.plus == 0 ? true : lo_.span.low + below_lo >= hi_.span.low);
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
  const Bound lo_, hi_;
  const TermArithmetic bounds_;
  const Reason reason_;
  bool are_whole_ = false, have_no_sign_ = false;  ///< lo and hi at the head
  u32& steps_left_;                                ///< for all pairs of the loop together
  Way first_;
  s64 assumed_ = unknown_least, least_ = INT64_MAX;
  bool halves_ = true;  ///< every way so far leads to about the half
  s64 most_plus_ = 0;   ///< of the constants, apart
};

std::optional<Bound> bound_of(u32 place, const std::optional<Scalar>& number) {
  if (!number) return std::nullopt;
  const auto is_small = [](s64 low, s64 high) { return low >= -largest && high <= largest; };
  const Interval<u32>& narrow = number->narrow;
  const bool is_whole = is_small(number->wide.smin, number->wide.smax);
  if (narrow.umax <= largest) return Bound{place, is_whole, {narrow.umin, narrow.umax}};
  if (!is_small(narrow.smin, narrow.smax)) return std::nullopt;
  return Bound{place, is_whole, {narrow.smin, narrow.smax}};
}

/// The best of all pairs.
class Pairs {
 public:
  Pairs(const LoopBody& loop, const TouchedSlots& touched, const Alike& alike)
      : loop_(loop), touched_(touched), alike_(alike) {}

  std::optional<u64> best() const { return best_; }

  void look_at(const Bound& lo, const Bound& hi) {
    PairRanker pair(loop_, touched_, alike_, lo, hi, Reason::seen, steps_left_);
    if (pair.shrinks(unknown_least) || pair.shrinks(1) || pair.shrinks(0)) keep(pair.rounds());
  }

  /// `lo` and `hi`: when the loop is entered. They may pass each other in the last round; below 0, a comparison without
  /// a sign says nothing, and a 32-bit instruction leaves only half of the number.
  void look_at_entered(const Bound& lo, const Bound& hi) {
    constexpr s64 most_past = 2;
    const s64 apart = hi.span.low - lo.span.high;  // at least
    for (const bool may_pass : {false, true})
      for (const bool is_whole : {true, false}) {
        Bound wide_lo = lo, wide_hi = hi;
        wide_lo.span.high = std::max(lo.span.high, hi.span.high + most_past);
        wide_hi.span.low = std::min(hi.span.low, lo.span.low - (may_pass ? most_past : 0));
        if (!is_whole) wide_lo.is_whole = wide_hi.is_whole = false;
        PairRanker pair(loop_, touched_, alike_, wide_lo, wide_hi, Reason::induction, steps_left_);
        if (pair.shrinks(unknown_least) || (apart >= 1 && pair.shrinks(1)) || (apart >= 0 && pair.shrinks(0)))
          return keep(pair.rounds());
      }
  }

 private:
  void keep(u64 rounds) { best_ = best_ ? std::min(*best_, rounds) : rounds; }

  const LoopBody& loop_;
  const TouchedSlots& touched_;
  const Alike alike_;
  u32 steps_left_ = 20'000;
  std::optional<u64> best_;
};

}  // namespace

std::optional<u64> rounds_of_closing_bounds(const LoopBody& loop, const TouchedSlots& touched,
                                            const NumberAt& number_at, const NumberAt& number_on_entry,
                                            const Alike& alike) {
  constexpr std::size_t most_bounds = 16;
  if (std::ranges::none_of(loop.insns(), [&](u32 i) { return loop.form(i) == Form::jump_reg; })) return std::nullopt;
  std::vector<Bound> bounds, entered;
  for (u32 p = 0; p < counter_places; p++) {
    if (p >= counter_registers && touched[p - counter_registers]) continue;
    const auto number = number_at(loop.head(), p);
    if (!number || number->is_const()) continue;
    if (const auto bound = bound_of(p, number); bound && bounds.size() < most_bounds) bounds.push_back(*bound);
    if (!number_on_entry || entered.size() == most_bounds) continue;
    if (const auto bound = bound_of(p, number_on_entry(loop.head(), p))) entered.push_back(*bound);
  }
  const auto each_pair = [&alike](const std::vector<Bound>& from, auto&& look) {
    for (const Bound& lo : from)
      for (const Bound& hi : from)
        if (alike[lo.place] != alike[hi.place]) look(lo, hi);
  };
  Pairs seen(loop, touched, alike), shown(loop, touched, all_different());
  each_pair(bounds, [&](const Bound& lo, const Bound& hi) { seen.look_at(lo, hi); });
  if (seen.best()) return seen.best();
  each_pair(entered, [&](const Bound& lo, const Bound& hi) { shown.look_at_entered(lo, hi); });
  return shown.best();
}

}  // namespace skep::verify
