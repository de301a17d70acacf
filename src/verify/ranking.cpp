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

#include "isa/semantics.hpp"

namespace skep::verify {

using isa::Form;

namespace {

constexpr u32 places = counter_registers + counter_slots;
constexpr s64 farthest = s64{1} << 32;  ///< what moves more is lost sight of

/// A place's low half is that of `origin` when the head was reached, plus a number of [low, high].
struct Drift {
  s8 origin = -1;
  bool is_shifted = false;  ///< that times 2^32: half of how compilers cut off the upper half
  s64 low = 0, high = 0;
  friend bool operator==(const Drift&, const Drift&) = default;
};
using Drifts = std::array<Drift, places>;

Drift join(const Drift& a, const Drift& b) {
  if (a.origin != b.origin || a.is_shifted != b.is_shifted) return {};
  return {a.origin, a.is_shifted, std::min(a.low, b.low), std::max(a.high, b.high)};
}

std::optional<u32> slot_place(s32 off) {
  if (off >= 0 || off % 8 != 0 || off < -8 * static_cast<s32>(counter_slots)) return std::nullopt;
  return counter_registers + static_cast<u32>(-off / 8 - 1);
}

class LoopRanker {
 public:
  LoopRanker(const Ranking& given, const Loop& loop, const std::vector<u32>& position)
      : given_(given), loop_(loop), position_(position) {}

  /// How often the head is reached at most before the loop is left; none: not known.
  std::optional<u64> rounds() {
    if (ends_by_itself()) return 1;
    if (was_unrolled()) return given_.unrolled_rounds;
    for (u32 s = 0; s < counter_slots; s++) is_touched_[s] = is_touched(s);
    Drifts round{};
    if (!drift_from(loop_.head, round)) return std::nullopt;
    std::optional<u64> best;
    for (u32 p = 0; p < places; p++) {
      const Drift& d = round[p];
      if (d.origin != static_cast<s8>(p) || d.is_shifted || (d.low <= 0 && d.high >= 0)) continue;
      const auto found = rounds_of(d, p);
      if (found && (!best || *found < *best)) best = found;
    }
    return best ? best : rounds_by_mask();
  }

 private:
  const Insn& insn(u32 i) const { return given_.program.insns[i]; }
  Form form(u32 i) const { return isa::row(given_.analysis.insns[i].op).form; }
  bool is_inside(u32 i) const { return std::ranges::binary_search(loop_.body, i); }

  /// Every way round meets a may_goto, whose budget is the program's, or asks an iterator that is not made in the loop,
  /// nor by what is called there: a function may make its caller's iterator anew.
  bool ends_by_itself() const {
    std::set<u32> cut;
    bool makes_iterators = false;
    for (u32 i : loop_.body) {
      const catalog::Kfunc* kfunc = form(i) == Form::call_kfunc ? given_.analysis.kfunc_at(i) : nullptr;
      makes_iterators |= form(i) == Form::call_local || form(i) == Form::callx;
      makes_iterators |= form(i) == Form::call_helper && given_.analysis.insns[i].converges;
      makes_iterators |= kfunc != nullptr && kfunc->has(catalog::kfunc_flags::iter_new);
    }
    for (u32 i : loop_.body) {
      const catalog::Kfunc* kfunc = form(i) == Form::call_kfunc ? given_.analysis.kfunc_at(i) : nullptr;
      if (form(i) == Form::may_goto) cut.insert(i);
      if (!makes_iterators && kfunc != nullptr && kfunc->has(catalog::kfunc_flags::iter_next)) cut.insert(i);
    }
    return !cut.empty() && is_cut_by(cut);
  }

  /// Every way round meets the head of a loop, not left on the way, whose rounds were counted.
  bool was_unrolled() const {
    const auto head = [](const Loop* l) { return l->head; };
    const auto first = std::ranges::lower_bound(given_.unrolled, loop_.body.front(), {}, head);
    const auto last = std::ranges::upper_bound(given_.unrolled, loop_.body.back(), {}, head);
    return std::any_of(first, last, [this](const Loop* l) {
      return is_inside(l->head) && std::ranges::includes(l->body, loop_.body) && is_cut_by({l->head});
    });
  }

  /// Without these instructions, no way leads from the head back to it.
  bool is_cut_by(const std::set<u32>& cut) const {
    std::vector<u32> work{loop_.head};
    std::set<u32> seen;
    while (!work.empty()) {
      const u32 i = work.back();
      work.pop_back();
      if (cut.contains(i)) continue;
      for (u32 to : ways(i)) {
        if (!is_inside(to)) continue;
        if (to == loop_.head) return false;
        if (seen.insert(to).second) work.push_back(to);
      }
    }
    return true;
  }

  Successors ways(u32 i) const {
    Successors all = successors(given_.program, given_.analysis, i), found;
    const bool may_choose = isa::is_conditional(form(i));
    for (u32 k = 0; k < all.count; k++)
      if (!may_choose || (k == 0 ? given_.proofs[i].jump_passed : given_.proofs[i].jump_taken))
        found.insns[found.count++] = all.insns[k];
    return found;
  }

  /// What the places hold when `start` is reached again, in terms of what they held there before.
  bool drift_from(u32 start, Drifts& round) const {
    constexpr u32 patience = 4, most_steps = 200'000, most_known = 20'000;
    struct At {
      Drifts drifts;
      u32 changes = 0;
    };
    std::map<u32, At> known;
    std::set<std::pair<u32, u32>> work;  // by position
    bool came_back = false;
    Drifts now;
    for (u32 p = 0; p < places; p++)
      if (p < counter_registers || !is_touched_[p - counter_registers]) now[p] = {static_cast<s8>(p), false, 0, 0};
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
      step(at, now);
      u32 following = 0, count = 0;
      for (u32 to : ways(at))
        if (is_inside(to)) {
          if (count++ == 0)
            following = to;
          else
            arrive(to, now);
        }
      if (count != 0 && (following == start || given_.analysis.insns[following].is_join)) {
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

  static void move(Drift& d, s64 by) {
    if (d.origin < 0 || d.is_shifted || by > farthest || by < -farthest || d.low + by < -farthest ||
        d.high + by > farthest) {
      d = {};
      return;
    }
    d.low += by;
    d.high += by;
  }

  static void arithmetic(const Insn& i, isa::Alu op, bool wide, Drift& d) {
    if (op == isa::Alu::add) return move(d, i.imm);
    if (op == isa::Alu::sub) return move(d, -s64{i.imm});
    if (wide && op == isa::Alu::lsh && i.imm == 32 && !d.is_shifted && d.origin >= 0)
      d.is_shifted = true;
    else if (wide && (op == isa::Alu::rsh || op == isa::Alu::arsh) && i.imm == 32 && d.is_shifted)
      d.is_shifted = false;
    else
      d = {};
  }

  void step(u32 at, Drifts& now) const {
    const Insn& i = insn(at);
    const InsnFacts& facts = given_.analysis.insns[at];
    const bool wide = facts.code_class == isa::class_alu64;
    Drift given;
    switch (form(at)) {
      case Form::alu_imm:
        return arithmetic(i, isa::alu_of(facts.op), wide, now[i.dst]);
      case Form::alu_reg:
        given = of_register(i.src, now);
        now[i.dst] = isa::alu_of(facts.op) == isa::Alu::mov && (wide || !given.is_shifted) ? given : Drift{};
        return;
      case Form::movsx:
        given = of_register(i.src, now);
        now[i.dst] = i.off == 32 && !given.is_shifted ? given : Drift{};
        return;
      case Form::load: {
        const auto slot = i.src == isa::frame_pointer && size_of(i) >= 4 ? slot_place(i.off) : std::nullopt;
        const Drift held = slot ? now[*slot] : Drift{};
        now[i.dst] = (size_of(i) == 8 || !held.is_shifted) && !is_sign_extending(i) ? held : Drift{};
        return;
      }
      case Form::store_imm:
      case Form::store_reg:
        return store(at, now);
      case Form::jump:
      case Form::jump_long:
      case Form::jump_imm:
      case Form::jump_reg:
      case Form::may_goto:
      case Form::exit:
        return;
      case Form::call_helper:
      case Form::call_local:
      case Form::call_kfunc:
      case Form::callx:
      case Form::ld_abs:
      case Form::ld_ind:
        for (u32 r = 0; r <= 5; r++) now[r] = {};
        return;
      case Form::alu_unary:
      case Form::addr_space_cast:
      case Form::endian:
      case Form::ld_imm64:
      case Form::load_acquire:
        now[i.dst] = {};
        return;
      case Form::atomic:
      case Form::atomic_fetch:
      case Form::cmpxchg:
      case Form::store_release:
        if (i.src < counter_registers) now[i.src] = {};
        now[0] = {};
        if (i.dst == isa::frame_pointer) forget_bytes(i.off, 8, now);
        return;
    }
  }

  /// r10 has no place: the one of its number is a slot's.
  static Drift of_register(u32 reg, const Drifts& now) { return reg < counter_registers ? now[reg] : Drift{}; }
  static u32 size_of(const Insn& i) {
    constexpr std::array<u32, 4> sizes{4, 2, 1, 8};
    return sizes[i.code >> 3 & 3];
  }
  static bool is_sign_extending(const Insn& i) { return (i.code & 0xe0) == 0x80; }

  static void forget_bytes(s32 off, u32 size, Drifts& now) {
    for (s32 at = off; at < off + static_cast<s32>(size); at++)
      if (at < 0 && at >= -8 * static_cast<s32>(counter_slots))
        now[counter_registers + static_cast<u32>(-at - 1) / 8] = {};
  }

  void store(u32 at, Drifts& now) const {
    const Insn& i = insn(at);
    if (i.dst != isa::frame_pointer) return;  // is_touched_ knows of those
    const Drift stored = form(at) == Form::store_reg ? of_register(i.src, now) : Drift{};
    forget_bytes(i.off, size_of(i), now);
    const auto slot = slot_place(i.off);
    if (slot && !is_touched_[*slot - counter_registers] && (size_of(i) == 8 || (size_of(i) == 4 && !stored.is_shifted)))
      now[*slot] = stored;
  }

  /// Whether something else than the loop's own plain accesses through r10 may change the slot: then nothing is said of
  /// what it holds.
  bool is_touched(u32 slot) const {
    const s32 low = -8 * static_cast<s32>(slot + 1);
    const u32 function = given_.analysis.functions[given_.analysis.insns[loop_.head].function].first;
    for (const StackTouch& t : given_.touches) {
      if (t.function != function || t.high <= low || t.low >= low + 8) continue;
      const Form f = form(t.insn);
      if (f == Form::load || f == Form::load_acquire) continue;
      const bool is_own = given_.analysis.insns[t.insn].function == given_.analysis.insns[loop_.head].function;
      if (is_own && !is_inside(t.insn)) continue;
      const bool is_plain = f == Form::store_imm || f == Form::store_reg || f == Form::atomic ||
                            f == Form::atomic_fetch || f == Form::cmpxchg || f == Form::store_release;
      if (!is_own || !is_plain || insn(t.insn).dst != isa::frame_pointer) return true;
    }
    return false;
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

  /// A test `if x & mask` that every round meets, that stays in the loop only where a bit is set, of an x that moves by
  /// the same odd number each time: among 2^n rounds in a row, n the mask's length, is every value of the low n bits.
  std::optional<u64> rounds_by_mask() const {
    for (u32 i : loop_.body) {
      if (form(i) != Form::jump_imm || isa::compare_of(given_.analysis.insns[i].op) != isa::Compare::set) continue;
      const u32 mask = static_cast<u32>(insn(i).imm), reg = insn(i).dst;
      const Successors all = successors(given_.program, given_.analysis, i);
      if (mask == 0 || mask >= most_rounds || is_inside(all.insns[0]) || !is_cut_by({i})) continue;
      if (reg >= counter_registers) continue;
      Drifts round{};
      if (!drift_from(i, round)) continue;
      const Drift& d = round[reg];
      if (d.origin != static_cast<s8>(reg) || d.is_shifted || d.low != d.high || d.low % 2 == 0) continue;
      return std::bit_ceil(u64{mask} + 1);
    }
    return std::nullopt;
  }

  const Ranking& given_;
  const Loop& loop_;
  const std::vector<u32>& position_;
  std::array<bool, counter_slots> is_touched_{};
};

}  // namespace

std::optional<u32> Ranking::endless_loop() const {
  const Loops found = find_loops(program, analysis, proofs);
  if (found.too_deep) return found.loops.back().head;
  std::vector<u64> rounds;  // of each loop, those around it included
  for (const Loop& loop : found.loops) {
    const auto own = LoopRanker(*this, loop, found.position).rounds();
    const u64 around = loop.outer >= 0 ? rounds[static_cast<u32>(loop.outer)] : 1;
    if (!own || *own > most_rounds / around) return loop.head;
    rounds.push_back(*own * around);
  }
  return std::nullopt;
}

}  // namespace skep::verify
