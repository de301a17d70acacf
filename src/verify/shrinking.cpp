// See shrinking.hpp.
//
// x is all 64 bits of a register or slot when the head is reached, as a number without a sign. What a place holds is
// followed in terms of it; a 32-bit instruction leaves the low half, which is not more.
#include "verify/shrinking.hpp"

#include <vector>

#include "verify/ways_round.hpp"

namespace skep::verify {

using isa::Alu;
using isa::Compare;
using isa::Form;

namespace {

constexpr u32 most_steps = 20'000;

/// What is left of x.
struct Rest {
  enum class What : u8 {
    nothing,       ///< nothing is known
    same,          ///< x
    low,           ///< its low half
    one_less,      ///< x - 1, modulo 2^64
    low_one_less,  ///< its low half less 1, modulo 2^32
    at_most,       ///< no more than x
    less,          ///< no more than half of x; or some of its ones only, and not all, if x is not 0
  };
  What what = What::nothing;
  bool is_shifted = false;  ///< the low half of that, times 2^32
  friend bool operator==(const Rest&, const Rest&) = default;
};

struct RestArithmetic {
  using Value = Rest;
  using What = Rest::What;
  bool is_not_zero = false;  ///< x, as is known on this way

  static bool is_less_one(What w) { return w == What::one_less || w == What::low_one_less; }
  static bool is_at_most(const Rest& r) { return r.what != What::nothing && !is_less_one(r.what) && !r.is_shifted; }

  static Rest low_half(const Rest& r) {
    if (r.is_shifted) return {};
    if (r.what == What::same) return {What::low};
    if (r.what == What::one_less) return {What::low_one_less};
    return r;
  }
  /// The upper half of the slot is whatever it was.
  static Rest stored_half(const Rest&) { return {}; }
  static Rest sign_extended(const Rest&) { return {}; }

  Rest immediate(Alu op, bool is_wide, const Rest& given, s32 imm) const {
    if (given.is_shifted) {
      if (op != Alu::rsh || !is_wide || imm < 32) return {};
      const Rest low = low_half({given.what});
      return imm == 32 ? low : halved(low);
    }
    const Rest r = is_wide ? given : low_half(given);
    switch (op) {
      case Alu::add:
        return imm == -1 ? one_less(r, is_wide) : Rest{};
      case Alu::sub:
        return imm == 1 ? one_less(r, is_wide) : Rest{};
      case Alu::lsh:
        return is_wide && imm == 32 ? Rest{r.what, true} : Rest{};
      case Alu::rsh:
        return imm > 0 ? halved(r) : r;
      case Alu::div:
        return imm > 1 ? halved(r) : at_most(r);
      case Alu::mod:
      case Alu::and_:
        return at_most(r);
      default:
        return {};
    }
  }

  Rest registers(Alu op, bool, const Rest& a, const Rest& b) const {
    if (a.is_shifted || b.is_shifted) return {};
    if (op == Alu::div || op == Alu::mod || op == Alu::rsh) return at_most(a);
    if (op != Alu::and_) return {};
    const auto is_x = [](const Rest& r) { return r.what == What::same || r.what == What::low; };
    if ((is_x(a) && is_less_one(b.what)) || (is_x(b) && is_less_one(a.what))) return {What::less};
    if (a.what == What::less || b.what == What::less) return {What::less};
    return is_at_most(a) ? at_most(a) : at_most(b);
  }

 private:
  static Rest at_most(const Rest& r) {
    if (!is_at_most(r)) return {};
    return {r.what == What::less ? What::less : What::at_most};
  }
  Rest halved(const Rest& r) const {
    if (is_less_one(r.what)) return is_not_zero ? Rest{What::less} : Rest{};
    return is_at_most(r) ? Rest{What::less} : Rest{};
  }
  static Rest one_less(const Rest& r, bool is_wide) {
    if (r.what == What::same && is_wide) return {What::one_less};
    return r.what == What::low && !is_wide ? Rest{What::low_one_less} : Rest{};
  }
};

struct RestWay {
  std::array<Rest, counter_places> now{};
  bool is_not_zero = false;  ///< x, when the head was reached
  friend bool operator==(const RestWay&, const RestWay&) = default;
};

/// Whether a number that compares so with `imm`, sign-extended, cannot be 0.
bool excludes_zero(Compare compare, s32 imm, bool is_taken) {
  switch (compare) {
    case Compare::eq:
      return is_taken == (imm != 0);
    case Compare::ne:
      return is_taken == (imm == 0);
    case Compare::gt:
      return is_taken;
    case Compare::le:
      return !is_taken;
    case Compare::ge:
      return is_taken && imm != 0;
    case Compare::lt:
      return !is_taken && imm != 0;
    case Compare::sgt:
      return is_taken && imm >= 0;
    case Compare::sle:
      return !is_taken && imm >= 0;
    case Compare::sge:
      return is_taken && imm > 0;
    case Compare::slt:
      return !is_taken && imm > 0;
    case Compare::set:
      return is_taken;
  }
  return false;
}

class Shrinking {
 public:
  Shrinking(const LoopBody& loop, const TouchedSlots& touched, const Alike& alike, u32 place)
      : loop_(loop), touched_(touched), alike_(alike), place_(place) {}

  bool is_so(u32& steps_left) {
    RestWay first;
    for (u32 p = 0; p < counter_places; p++)
      if (alike_[p] == alike_[place_]) first.now[p] = {Rest::What::same};
    return RoundWays<Shrinking, RestWay>(loop_, *this, steps_left).follow_all(first) && comes_round_;
  }

  void step(u32 at, RestWay& way) const {
    const RestArithmetic arithmetic{way.is_not_zero};
    Round<RestArithmetic>(loop_, touched_, arithmetic).step(at, way.now);
  }
  void learn(u32 at, bool is_taken, RestWay& way) const {
    if (loop_.form(at) != Form::jump_imm) return;
    const Insn& i = loop_.insn(at);
    const Rest tested = Round<RestArithmetic>::of_register(i.dst, way.now);
    if (RestArithmetic::is_at_most(tested) && excludes_zero(isa::compare_of(loop_.facts(at).op), i.imm, is_taken))
      way.is_not_zero = true;
  }
  bool comes_round(const RestWay& way) {
    comes_round_ = true;
    return way.is_not_zero && way.now[place_] == Rest{Rest::What::less};
  }

 private:
  const LoopBody& loop_;
  const TouchedSlots& touched_;
  const Alike& alike_;
  const u32 place_;
  bool comes_round_ = false;
};

/// In terms of a and b, of which each round makes b and a % b; clang 14 writes a - a / b * b where both are asked for.
struct Part {
  enum class What : u8 { nothing, a, b, quotient, multiple, remainder };
  What what = What::nothing;
  friend bool operator==(const Part&, const Part&) = default;
};

/// `is_narrow`: the upper halves of a and b are 0.
struct PartArithmetic {
  using Value = Part;
  bool is_narrow = false;

  Part low_half(const Part& p) const { return is_narrow ? p : Part{}; }
  static Part stored_half(const Part&) { return {}; }
  static Part sign_extended(const Part&) { return {}; }
  static Part immediate(Alu, bool, const Part&, s32) { return {}; }
  Part registers(Alu op, bool is_wide, const Part& x, const Part& y) const {
    using What = Part::What;
    if (!is_wide && !is_narrow) return {};
    const auto are = [&x, &y](What first, What second) { return x.what == first && y.what == second; };
    if (op == Alu::mod && are(What::a, What::b)) return {What::remainder};
    if (op == Alu::div && are(What::a, What::b)) return {What::quotient};
    if (op == Alu::mul && (are(What::quotient, What::b) || are(What::b, What::quotient))) return {What::multiple};
    return op == Alu::sub && are(What::a, What::multiple) ? Part{What::remainder} : Part{};
  }
};

struct PartWay {
  std::array<Part, counter_places> now{};
  bool b_is_not_zero = false, remainder_is_not_zero = false;
  friend bool operator==(const PartWay&, const PartWay&) = default;
};

/// A loop that compares at its end knows nothing of the first b; of the others it does, if every round compares so.
class Euclid {
 public:
  Euclid(const LoopBody& loop, const TouchedSlots& touched, const Alike& alike, u32 a, u32 b, bool is_narrow)
      : loop_(loop), touched_(touched), alike_(alike), a_(a), b_(b), arithmetic_{is_narrow} {}

  bool is_so(u32& steps_left) {
    PartWay first;
    for (u32 p = 0; p < counter_places; p++)
      if (alike_[p] == alike_[a_] || alike_[p] == alike_[b_])
        first.now[p] = {alike_[p] == alike_[a_] ? Part::What::a : Part::What::b};
    return RoundWays<Euclid, PartWay>(loop_, *this, steps_left).follow_all(first) && comes_round_ &&
           (all_test_b_ || all_test_remainder_);
  }

  void step(u32 at, PartWay& way) const { Round<PartArithmetic>(loop_, touched_, arithmetic_).step(at, way.now); }
  void learn(u32 at, bool is_taken, PartWay& way) const {
    if (loop_.form(at) != Form::jump_imm) return;
    const Insn& i = loop_.insn(at);
    if (!excludes_zero(isa::compare_of(loop_.facts(at).op), i.imm, is_taken)) return;
    const Part tested = Round<PartArithmetic>::of_register(i.dst, way.now);
    way.b_is_not_zero = way.b_is_not_zero || tested.what == Part::What::b;
    way.remainder_is_not_zero = way.remainder_is_not_zero || tested.what == Part::What::remainder;
  }
  bool comes_round(const PartWay& way) {
    comes_round_ = true;
    all_test_b_ = all_test_b_ && way.b_is_not_zero;
    all_test_remainder_ = all_test_remainder_ && way.remainder_is_not_zero;
    return way.now[a_].what == Part::What::b && way.now[b_].what == Part::What::remainder;
  }

 private:
  const LoopBody& loop_;
  const TouchedSlots& touched_;
  const Alike& alike_;
  const u32 a_, b_;
  const PartArithmetic arithmetic_;
  bool comes_round_ = false, all_test_b_ = true, all_test_remainder_ = true;
};

bool has_quotient(const LoopBody& loop) {
  return std::ranges::any_of(loop.insns(), [&loop](u32 i) {
    if (loop.form(i) != Form::alu_reg) return false;
    const Alu op = isa::alu_of(loop.facts(i).op);
    return op == Alu::mod || op == Alu::div;
  });
}

}  // namespace

std::optional<u64> rounds_of_shrinking(const LoopBody& loop, const TouchedSlots& touched, const NumberAt& number_at,
                                       const Alike& alike) {
  constexpr u64 most = 64 * 65;        // lengths, and ones for each
  constexpr u64 most_divisions = 130;  // two for each length
  u32 steps_left = most_steps;
  struct Candidate {
    u32 place = 0;
    bool is_narrow = false;
  };
  std::vector<Candidate> candidates;
  for (u32 p = 0; p < counter_places; p++) {
    if (p >= counter_registers && touched[p - counter_registers]) continue;
    const auto number = number_at(loop.head(), p);
    if (number && !number->is_const()) candidates.push_back({p, number->wide.umax >> 32 == 0});
  }
  for (const Candidate& c : candidates)
    if (Shrinking(loop, touched, alike, c.place).is_so(steps_left)) return most;
  if (!has_quotient(loop)) return std::nullopt;
  for (const Candidate& a : candidates)
    for (const Candidate& b : candidates)
      if (alike[a.place] != alike[b.place] &&
          Euclid(loop, touched, alike, a.place, b.place, a.is_narrow && b.is_narrow).is_so(steps_left))
        return most_divisions;
  return std::nullopt;
}

}  // namespace skep::verify
