// Counters of loops. See ranking.hpp.
//
// For each loop, the ways from its head back to it are followed once, all together, and for every register and slot it
// is noted whose number at the head it holds, and how far that has moved at least and at most (Drift). Everything is
// meant modulo 2^32, where 32-bit and 64-bit instructions agree.
#include "verify/ranking.hpp"

#include <algorithm>
#include <bit>
#include <map>
#include <set>

#include "verify/round.hpp"
#include "verify/self_ending.hpp"
#include "verify/shrinking.hpp"

namespace skep::verify {

using isa::Form;

namespace {

constexpr u64 product(u64 a, u64 b) {
  u64 r = 0;
  return __builtin_mul_overflow(a, b, &r) ? ~u64{0} : r;
}

constexpr u32 places = counter_places;
constexpr s64 farthest = s64{1} << 32;  ///< what moves more is lost sight of

struct Range {
  s64 low = 0, high = 0;
};

/// A place's low half is that of `origin` when the head was reached, plus a number of [low, high]; or that number
/// alone.
struct Drift {
  static constexpr s8 nothing = -1, alone = -2;
  s8 origin = nothing;
  bool is_shifted = false;  ///< that times 2^32: half of how compilers cut off the upper half
  s64 low = 0, high = 0;
  friend bool operator==(const Drift&, const Drift&) = default;
};
using Drifts = std::array<Drift, places>;

Drift join(const Drift& a, const Drift& b) {
  if (a.origin != b.origin || a.is_shifted != b.is_shifted) return {};
  return {a.origin, a.is_shifted, std::min(a.low, b.low), std::max(a.high, b.high)};
}

struct DriftArithmetic {
  using Value = Drift;
  using Alu = isa::Alu;
  std::array<std::optional<Range>, places>
      begin{};  ///< the low halves when the head was reached, as far as it is known

  Drift immediate(Alu op, bool is_wide, const Drift& d, s32 imm) const {
    if (op == Alu::and_ && imm >= 0) return of_number(0, imm);
    if (d.is_shifted || (is_wide && imm == 32)) return is_wide && imm == 32 ? cut_off(op, d) : Drift{};
    switch (op) {
      case Alu::add:
        return moved(d, imm, imm);
      case Alu::sub:
        return moved(d, -s64{imm}, -s64{imm});
      case Alu::lsh:
        return imm < 16 ? times(d, s64{1} << imm) : Drift{};
      case Alu::mul:
        return imm > 0 && imm < 1 << 16 ? times(d, imm) : Drift{};
      default:
        return {};
    }
  }
  Drift registers(Alu op, bool, const Drift& a, const Drift& b) const {
    if (a.origin == Drift::nothing || b.origin == Drift::nothing || a.is_shifted || b.is_shifted) return {};
    if (op == Alu::add) {
      if (b.origin == Drift::alone) return moved(a, b.low, b.high);
      if (a.origin == Drift::alone) return moved(b, a.low, a.high);
      const auto& number = begin[static_cast<u32>(a.origin)];
      if (a.origin != b.origin || !number) return {};
      return moved(a, number->low + b.low, number->high + b.high);
    }
    if (op != Alu::sub) return {};
    if (b.origin == Drift::alone) return moved(a, -b.high, -b.low);
    return a.origin == b.origin ? of_number(a.low - b.high, a.high - b.low) : Drift{};
  }
  static Drift read(u32 bytes) { return of_number(0, (s64{1} << (8 * bytes)) - 1); }
  static Drift low_half(const Drift& d) { return d.is_shifted ? Drift{} : d; }
  static Drift stored_half(const Drift& d) { return low_half(d); }
  static Drift sign_extended(const Drift& d) { return low_half(d); }

 private:
  static Drift of_number(s64 low, s64 high) {
    return low < -farthest || high > farthest ? Drift{} : Drift{Drift::alone, false, low, high};
  }
  /// Shifted by 32 bits to the left or back.
  static Drift cut_off(Alu op, Drift d) {
    const bool is_back = op == Alu::rsh || op == Alu::arsh;
    if (d.origin == Drift::nothing || (op != Alu::lsh && !is_back) || d.is_shifted != is_back) return {};
    d.is_shifted = !is_back;
    return d;
  }
  static Drift moved(const Drift& d, s64 least, s64 most) {
    if (d.origin == Drift::nothing || d.is_shifted || d.low + least < -farthest || d.high + most > farthest) return {};
    return {d.origin, false, d.low + least, d.high + most};
  }
  /// (n + d) * k is n, plus (k - 1) * n + k * d.
  Drift times(const Drift& d, s64 k) const {
    if (d.origin == Drift::alone) return of_number(k * d.low, k * d.high);
    if (d.origin == Drift::nothing || !begin[static_cast<u32>(d.origin)]) return {};
    const Range& n = *begin[static_cast<u32>(d.origin)];
    return moved({d.origin, false, 0, 0}, (k - 1) * n.low + k * d.low, (k - 1) * n.high + k * d.high);
  }
};

class LoopRanker {
 public:
  LoopRanker(const Ranking& given, const Loop& loop, const std::vector<u32>& position)
      : given_(given), body_(given.explored, loop), loop_(loop), position_(position) {}

  /// Whether a reason other than a number's ends the loop; how often it goes round is not known then.
  bool runs_out() const { return ends_by_itself(body_); }

  /// How often the head is reached at most before the loop is left; none: not known.
  std::optional<u64> rounds() {
    if (was_unrolled()) return given_.unrolled_rounds;
    touched_ = touched_slots(body_);
    alike_ = given_.alike_at(loop_.head);
    Drifts round{};
    DriftArithmetic arithmetic;
    for (u32 p = 0; p < places; p++) arithmetic.begin[p] = begin_of(p);
    if (!drift_from(loop_.head, arithmetic, round)) return std::nullopt;
    std::optional<u64> best;
    for (u32 p = 0; p < places; p++) {
      const Drift& d = round[p];
      if (d.origin != static_cast<s8>(alike_[p]) || d.is_shifted || (d.low <= 0 && d.high >= 0)) continue;
      const auto found = rounds_of(d, p);
      if (found && (!best || *found < *best)) best = found;
    }
    if (!best) best = rounds_by_mask();
    if (!best) best = rounds_of_shrinking(body_, touched_, given_.number_at, alike_);
    if (!best) best = rounds_of_closing_bounds(body_, touched_, given_.number_at, given_.entry_of(loop_), alike_);
    return best ? best : rounds_as_seen();
  }

 private:
  const Insn& insn(u32 i) const { return body_.insn(i); }
  Form form(u32 i) const { return body_.form(i); }
  bool is_inside(u32 i) const { return body_.is_inside(i); }

  /// Every way round meets the head of a loop, not left on the way, whose rounds were counted.
  bool was_unrolled() const {
    const auto head = [](const Loop* l) { return l->head; };
    const auto first = std::ranges::lower_bound(given_.unrolled, loop_.body.front(), {}, head);
    const auto last = std::ranges::upper_bound(given_.unrolled, loop_.body.back(), {}, head);
    return std::any_of(first, last, [this](const Loop* l) {
      return is_inside(l->head) && std::ranges::includes(l->body, loop_.body) && is_cut_by(l->head);
    });
  }

  /// Without this instruction, no way leads from the head back to it.
  bool is_cut_by(u32 cut) const {
    return !body_.comes_round([cut](u32 i, u32) { return i == cut; });
  }

  /// What the places hold when `start` is reached again, in terms of what they held there before.
  bool drift_from(u32 start, const DriftArithmetic& arithmetic, Drifts& round) const {
    constexpr u32 patience = 4, most_steps = 200'000, most_known = 20'000;
    struct At {
      Drifts drifts;
      u32 changes = 0;
    };
    std::map<u32, At> known;
    std::set<std::pair<u32, u32>> work;  // by position
    bool came_back = false;
    const Round<DriftArithmetic> instructions(body_, touched_, arithmetic);
    Drifts now;
    for (u32 p = 0; p < places; p++)
      if (p < counter_registers || !touched_[p - counter_registers])
        now[p] = {static_cast<s8>(start == loop_.head ? alike_[p] : p), false, 0, 0};
    auto arrive = [&](u32 at, const Drifts& drifts) {
      if (at == start) {
        for (u32 p = 0; p < places; p++) round[p] = came_back ? join(round[p], drifts[p]) : drifts[p];
        came_back = true;
        return;
      }
      auto [entry, is_new] = known.try_emplace(at, At{drifts, 0});
      bool changed = is_new;
      for (u32 p = 0; p < places && !is_new; p++) {
        Drift& old = entry->second.drifts[p];
        Drift both = join(old, drifts[p]);
        if (both == old) continue;
        old = entry->second.changes >= patience ? Drift{} : both;
        changed = true;
      }
      if (changed && !is_new) entry->second.changes++;
      if (changed) work.insert({position_[at], at});
    };
    u32 at = start, steps = 0;
    while (true) {
      if (++steps > most_steps || known.size() > most_known) return false;
      instructions.step(at, now);
      u32 following = 0, count = 0;
      for (u32 to : body_.ways(at))
        if (is_inside(to)) {
          if (count++ == 0)
            following = to;
          else
            arrive(to, now);
        }
      if (count != 0 && (following == start || body_.facts(following).is_join)) {
        arrive(following, now);
        count = 0;
      }
      if (count != 0) {
        at = following;
        continue;
      }
      if (work.empty()) return came_back;
      at = work.begin()->second;
      work.erase(work.begin());
      now = known[at].drifts;
    }
  }

  /// What the place's low half can be at the head, as a number with or without a sign that is not too large to
  /// multiply.
  std::optional<Range> begin_of(u32 place) const {
    constexpr s64 largest = s64{1} << 31;
    const auto number = given_.number_at(loop_.head, place);
    if (!number) return std::nullopt;
    const Interval<u32>& range = number->narrow;
    if (range.umax < largest) return Range{range.umin, range.umax};
    return Range{range.smin, range.smax};
  }

  std::optional<u64> rounds_of(const Drift& d, u32 place) const {
    const auto number = given_.number_at(loop_.head, place);
    if (!number) return std::nullopt;
    const Interval<u32>& range = number->narrow;
    const s64 step = d.low > 0 ? d.low : -d.high;
    std::optional<u64> found;
    auto consider = [&](s64 low, s64 high, s64 lowest, s64 highest) {  // no round may leave the 32 bits
      if (high + d.high > highest || low + d.low < lowest) return;
      const u64 count = static_cast<u64>(high - low) / static_cast<u64>(step) + 1;
      if (!found || count < *found) found = count;
    };
    consider(range.umin, range.umax, 0, Interval<u32>::u_max);
    consider(range.smin, range.smax, Interval<u32>::s_min, Interval<u32>::s_max);
    return found;
  }

  std::optional<u64> rounds_as_seen() const {
    const Movements* movements = given_.movements_of(loop_);
    if (movements == nullptr) return std::nullopt;
    return rounds_by_movement(loop_.head, *movements, given_.number_at, most_rounds);
  }

  /// A test `if x & mask` that every round meets, that stays in the loop only where a bit is set, of an x that moves by
  /// the same odd number each time: among 2^n rounds in a row, n the mask's length, is every value of the low n bits.
  std::optional<u64> rounds_by_mask() const {
    for (u32 i : loop_.body) {
      if (form(i) != Form::jump_imm || isa::compare_of(body_.facts(i).op) != isa::Compare::set) continue;
      const u32 mask = static_cast<u32>(insn(i).imm), reg = insn(i).dst;
      const Successors all = successors(given_.explored.program, given_.explored.analysis, i);
      if (mask == 0 || mask >= most_rounds || is_inside(all.insns[0]) || !is_cut_by(i)) continue;
      if (reg >= counter_registers) continue;
      Drifts round{};
      if (!drift_from(i, {}, round)) continue;
      const Drift& d = round[reg];
      if (d.origin != static_cast<s8>(reg) || d.is_shifted || d.low != d.high || d.low % 2 == 0) continue;
      return std::bit_ceil(u64{mask} + 1);
    }
    return std::nullopt;
  }

  const Ranking& given_;
  const LoopBody body_;
  const Loop& loop_;
  const std::vector<u32>& position_;
  TouchedSlots touched_{};
  Alike alike_{};
};

}  // namespace

Ends Ranking::ends() const {
  Ends ends;
  ends.times.assign(explored.program.insns.size(), 1);
  const Loops found = find_loops(explored.program, explored.analysis, explored.proofs);
  if (found.too_deep) ends.endless_loop = found.loops.back().head;
  std::vector<u64> rounds;  // of each loop, those around it included
  for (const Loop& loop : found.loops) {
    if (ends.endless_loop) break;
    LoopRanker ranker(*this, loop, found.position);
    const bool runs_out = ranker.runs_out();
    const auto own = runs_out ? 1 : ranker.rounds();
    const u64 around = loop.outer >= 0 ? rounds[static_cast<u32>(loop.outer)] : 1;
    if (!own || *own > most_rounds / around) {
      ends.endless_loop = loop.head;
      break;
    }
    rounds.push_back(*own * around);
    // Between two visits of the head each instruction is executed once at most, and so it is before the first.
    const u64 visits = runs_out ? 0 : *own + not_counted(loop.head) + 1, times = product(visits, ends.times[loop.head]);
    for (u32 i : loop.body) ends.times[i] = times;
  }
  return ends;
}

std::optional<u32> closed_without_end(const ExploredProgram& explored, const std::vector<bool>& closed) {
  const Loops found = find_loops(explored.program, explored.analysis, explored.proofs);
  if (found.too_deep) return found.loops.back().head;
  for (const Loop& loop : found.loops)
    if (closed[loop.head] && !ends_by_itself(LoopBody(explored, loop))) return loop.head;
  return std::nullopt;
}

}  // namespace skep::verify
