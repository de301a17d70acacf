// Exploring with joined states. See second_gear.hpp.
#include "verify/second_gear.hpp"

#include <algorithm>
#include <utility>

namespace skep::verify {

using catalog::MessageId;
using isa::Form;

namespace {

bool same_frames(const State& a, const State& b) {
  for (u32 d = 0; d <= a.depth; d++) {
    const Frame &x = *a.frames[d], &y = *b.frames[d];
    if (x.regs != y.regs || x.callback_depth != y.callback_depth) return false;
    for (u32 s = 0; s < x.slot_count; s++) {
      const Slot &p = x.slots[s], &q = y.slots[s];
      if (p.bytes != q.bytes || (p.spill == nullptr) != (q.spill == nullptr)) return false;
      if (p.spill != nullptr && p.spill != q.spill && !(p.spill->value == q.spill->value)) return false;
    }
  }
  return true;
}

/// The low half of a number, whatever is above it.
Scalar low_half(const Scalar& number) {
  Scalar low;
  low.narrow = number.narrow;
  low.bits = {number.bits.value & Scalar::low_mask, number.bits.mask | ~Scalar::low_mask};
  low.normalise();
  return low;
}

/// What a place holds in all its 64 bits: a slot of which 4 bytes were spilled says nothing of the others.
std::optional<Scalar> number_in(const Frame& frame, u32 place) {
  const Register* held = nullptr;
  bool is_whole = true;
  if (place < counter_registers) {
    held = &frame.regs[place];
  } else if (place - counter_registers < frame.slot_count) {
    const Slot& slot = frame.slots[place - counter_registers];
    if (slot.bytes[3] == Byte::spilled) held = &slot.spill->value;
    is_whole = slot.bytes[7] == Byte::spilled;
  }
  if (held == nullptr || !held->is_scalar()) return std::nullopt;
  return is_whole ? held->number : low_half(held->number);
}

/// What the places of the frame hold, beside what they held before.
void note(const Frame& frame, bool is_first, std::array<std::optional<Scalar>, counter_places>& numbers) {
  for (u32 p = 0; p < counter_places; p++) {
    const std::optional<Scalar> held = number_in(frame, p);
    if (!held)
      numbers[p].reset();
    else if (is_first)
      numbers[p] = held;
    else if (numbers[p])
      numbers[p] = numbers[p]->join(*held);
  }
}

/// A cheap look before states are joined: the current frame's registers.
bool same_kinds(const State& a, const State& b) {
  if (a.depth != b.depth) return false;
  for (u32 r = 0; r < isa::frame_pointer; r++) {
    const Register &x = a.reg(r), &y = b.reg(r);
    if (x.kind != y.kind && x.kind != Kind::uninitialised && y.kind != Kind::uninitialised) return false;
  }
  return true;
}

}  // namespace

SecondGear::SecondGear(Checker& checker, const Patience& patience)
    : c_(checker),
      patience_(patience),
      loops_(find_loops(checker.program_, checker.analysis_, {})),
      landmarks_(checker.program_, checker.analysis_),
      innermost_(checker.program_.insns.size(), -1),
      around_(loops_.loops.size()),
      is_endless_(loops_.loops.size()) {
  for (u32 l = 0; l < loops_.loops.size(); l++) {  // outer ones first
    if (loops_.loops[l].outer >= 0) around_[l] = around_[static_cast<u32>(loops_.loops[l].outer)];
    around_[l].push_back(l);
    for (u32 i : loops_.loops[l].body) innermost_[i] = static_cast<s32>(l);
  }
}

SecondGear::~SecondGear() { release(); }

void SecondGear::release() {
  for (auto& [place, point] : points_)
    for (auto& variant : point.variants) c_.pool_.release(variant->state);
  for (Loose& loose : loose_) c_.pool_.release(loose.state);
  c_.pool_.release(joined_);
  pending_.clear();
  points_.clear();
  loose_.clear();
}

bool SecondGear::give_up() {
  return c_.refuse(MessageId::too_complex, c_.processed_, "instructions with joined states");
}

bool SecondGear::explore() {
  release();
  if (loops_.too_deep) return give_up();
  where_ = {};
  where_.insns[0] = c_.insn_;
  note_entry();
  if (!run_from_here({})) return false;
  while (!pending_.empty()) {
    const auto entry = pending_.extract(pending_.begin()).value();
    if (!explore_point(entry)) return false;
  }
  note_numbers();
  if (c_.trail_) c_.trail_->shrink(0);
  return true;
}

/// What is pending there. A point that cannot be reached again gives its states away.
bool SecondGear::explore_point(Points::iterator entry) {
  const Where where = entry->second.where;
  const bool is_last_time = !comes_again(entry->second);
  std::vector<std::unique_ptr<Variant>> taken;
  if (is_last_time) {
    taken = std::move(entry->second.variants);
    points_.erase(entry);
  } else {
    for (auto& variant : entry->second.variants) {
      if (!std::exchange(variant->is_pending, false)) continue;
      taken.push_back(std::make_unique<Variant>());
      c_.pool_.copy(taken.back()->state, variant->state);
      taken.back()->linears = variant->linears;
    }
  }
  bool ok = true;
  for (auto& variant : taken) {
    c_.pool_.release(c_.state_);
    c_.state_ = std::exchange(variant->state, State{});
    where_ = where;
    c_.insn_ = where.insns[where.depth];
    ok = ok && run_from_here(variant->linears);
  }
  return ok;
}

/// Whether a loop leads back to the point, or a helper that calls back.
bool SecondGear::comes_again(const Point& point) const {
  const Where& where = point.where;
  const State& state = point.variants.front()->state;
  for (u32 d = 0; d <= where.depth; d++) {
    const auto around = loops_around(where.insns[d]);
    if (around.size() > most_levels || state.frames[d]->is_callback || c_.analysis_.insns[where.insns[d]].converges)
      return true;
    for (std::size_t level = 0; level < around.size(); level++)
      if (where.rounds[d][level] + 1 >= patience_.rounds) return true;
  }
  return false;
}

/// From the checker's state to where paths may meet, and the same for what branches off on the way.
bool SecondGear::run_from_here(Linears linears) {
  while (true) {
    c_.path_.clear();
    c_.links_.clear();
    if (c_.trail_) c_.trail_->shrink(0);
    for (bool is_first = true;; is_first = false) {
      if (!is_first && c_.facts().is_join) {
        if (!arrive(linears)) return false;
        break;
      }
      if (!step(linears)) return false;
      if (c_.path_ends_) break;
    }
    c_.path_ends_ = false;
    if (loose_.empty()) return true;
    c_.pool_.release(c_.state_);
    c_.state_ = std::move(loose_.back().state);
    loose_.back().state.frames = {};
    c_.insn_ = loose_.back().insn;
    linears = loose_.back().linears;
    loose_.pop_back();
  }
}

bool SecondGear::step(Linears& linears) {
  if (++c_.processed_ > c_.max_insns_) return give_up();
  const u32 at = c_.insn_;
  c_.path_.push_back({.insn = at});
  if (c_.trail_) c_.trail_->enter(c_.state_, c_.analysis_, at, c_.path_.size(), true);
  c_.proofs_[at].reached = true;
  if (!linears.is_empty()) return step_with(linears, at);
  if (!c_.step() || c_.refused_) return false;
  return c_.pending_.empty() || take_branches(linears, linears);
}

/// The step at `at`, and what it does to lines.
bool SecondGear::step_with(Linears& linears, u32 at) {
  const Insn& insn = c_.program_.insns[at];
  const isa::Op op = c_.analysis_.insns[at].op;
  const Linears before = linears;
  const Register dst = c_.reg(insn.dst), src = c_.reg(insn.src);
  if (!c_.step() || c_.refused_) return false;
  if (!c_.path_ends_) linears.follow(insn, op, dst, src, c_.state_.current());
  if (!c_.pending_.empty() && !take_branches(before, linears)) return false;
  if (!c_.path_ends_ && isa::is_conditional(isa::row(op).form) && !linears.sharpen(c_.state_.current()))
    c_.path_ends_ = true;
  return true;
}

/// What the last step left to be explored, too. A step that is done again for one case has not been done before.
bool SecondGear::take_branches(const Linears& before, const Linears& after) {
  State here = std::move(c_.state_);
  const u32 insn = c_.insn_, from = c_.path_.back().insn;
  c_.state_.frames = {};
  bool ok = true;
  while (!c_.pending_.empty()) {
    Pending branch = std::move(c_.pending_.back());
    c_.pending_.pop_back();
    const bool is_again = branch.insn == from && !isa::is_jump(isa::row(c_.analysis_.insns[from].op).form);
    Linears linears = is_again ? before : branch.enters_callback ? Linears{} : after;
    if (!linears.sharpen(branch.state.current()) || !ok) {
      c_.pool_.release(branch.state);
      branch.state.frames = {};
      continue;
    }
    if (!c_.analysis_.insns[branch.insn].is_join || is_again) {
      loose_.push_back({std::move(branch.state), linears, branch.insn});
      branch.state.frames = {};
      continue;
    }
    c_.state_ = std::move(branch.state);
    branch.state.frames = {};
    c_.insn_ = branch.insn;
    ok = arrive(linears);
    c_.pool_.release(c_.state_);
  }
  c_.state_ = std::move(here);
  c_.insn_ = insn;
  return ok;
}

/// Where the checker's state has come to from where_: a loop's head, reached from inside, begins the next round.
SecondGear::Where SecondGear::next_place() {
  const State& state = c_.state_;
  Where now = where_;
  now.depth = state.depth;
  const bool is_new_frame = state.depth > where_.depth;
  for (u32 d = 0; d < state.depth; d++) now.insns[d] = state.frames[d + 1]->call_insn;
  now.insns[state.depth] = c_.insn_;
  std::array<u32, most_levels>& rounds = now.rounds[state.depth];
  const auto after = loops_around(c_.insn_);
  const auto before = is_new_frame ? std::span<const u32>{} : loops_around(where_.insns[state.depth]);
  for (u32 level = 0; level < most_levels; level++) {
    const bool stays = level < after.size() && level < before.size() && after[level] == before[level];
    if (!stays)
      rounds[level] = 0;
    else if (loops_.loops[after[level]].head == c_.insn_ && ++rounds[level] >= patience_.rounds)
      rounds[level] = patience_.rounds - 1, is_endless_[after[level]] = true;
  }
  for (std::size_t level = most_levels; level < after.size(); level++)
    if (level < before.size() && after[level] == before[level] && loops_.loops[after[level]].head == c_.insn_)
      is_endless_[after[level]] = true;
  return now;
}

SecondGear::Place SecondGear::order_of(const Where& where) const {
  constexpr std::size_t mostly = 8;
  Place place;
  place.reserve(mostly);
  for (u32 d = 0; d <= where.depth; d++) {
    const auto around = loops_around(where.insns[d]);
    for (u32 level = 0; level < around.size(); level++) {
      place.push_back(loops_.position[loops_.loops[around[level]].head]);
      place.push_back(level < most_levels ? where.rounds[d][level] : 0);
    }
    place.push_back(loops_.position[where.insns[d]]);
  }
  place.push_back(~0u);  // what is called comes first
  return place;
}

void SecondGear::forget_dead(State& state, u32 insn) {
  for (u32 d = 0; d <= state.depth; d++) {
    const u16 live = c_.analysis_.insns[d == state.depth ? insn : state.frames[d + 1]->call_insn].live;
    for (u32 r = 0; r < isa::frame_pointer; r++)
      if ((live >> r & 1) == 0) state.frames[d]->regs[r] = {};
  }
}

/// The checker's state has come to where paths may meet: it is kept there, and the checker has none then.
bool SecondGear::arrive(Linears linears) {
  constexpr std::size_t many_variants = 16, most_variants = 64;
  if (c_.pool_.bytes() > c_.state_limit_) return give_up();
  forget_dead(c_.state_, c_.insn_);
  if (!linears.sharpen(c_.state_.current())) return true;
  linears.settle(c_.state_.current());
  note_entry();
  const Where where = next_place();
  const auto entry = points_.try_emplace(order_of(where)).first;
  Point& point = entry->second;
  point.where = where;
  u32 count = 0;
  bool is_covered = false;
  Variant* alike = find_alike(point, linears, false, count, is_covered);
  const bool loses_pointers = alike == nullptr && !is_covered && point.variants.size() >= many_variants;
  if (loses_pointers) alike = find_alike(point, linears, true, count, is_covered);
  if (is_covered) return true;
  pending_.insert(entry);
  const auto around = loops_around(c_.insn_);
  const bool is_head = !around.empty() && loops_.loops[around.back()].head == c_.insn_ && is_endless_[around.back()];
  const bool is_circle = is_head || c_.facts().converges;
  if (alike != nullptr && (is_circle || count >= patience_.variants))
    return join_into(*alike, linears, is_circle, loses_pointers);
  if (point.variants.size() >= most_variants) return give_up();
  add_variant(point, linears);
  return true;
}

/// The last variant of the checker's state's shape, joined with it in `joined_`, and how many there are; or that one
/// covers it.
SecondGear::Variant* SecondGear::find_alike(Point& point, const Linears& linears, bool loses_pointers, u32& count,
                                            bool& is_covered) {
  State trial;
  Variant* alike = nullptr;
  count = 0;
  for (auto& variant : point.variants) {
    if (!same_kinds(variant->state, c_.state_)) continue;
    c_.pool_.copy(trial, variant->state);
    Join join(c_.pool_, c_.analysis_, landmarks_, c_.last_id_, Join::Widening::none, loses_pointers);
    if (!join(trial, c_.state_, c_.insn_)) continue;
    is_covered = same_frames(trial, variant->state) &&
                 variant->linears.cover(variant->state.current(), linears, c_.state_.current());
    if (is_covered) break;
    alike = variant.get();
    std::swap(trial, joined_);
    count++;
  }
  c_.pool_.release(trial);
  return alike;
}

void SecondGear::add_variant(Point& point, const Linears& linears) {
  Variant& variant = *point.variants.emplace_back(std::make_unique<Variant>());
  variant.state = std::exchange(c_.state_, State{});
  variant.linears = linears;
  c_.state_count_++;
}

bool SecondGear::join_into(Variant& variant, const Linears& linears, bool is_circle, bool loses_pointers) {
  constexpr u32 patience = 2, long_patience = 24;
  const Join::Widening widening = !is_circle || variant.joins < patience ? Join::Widening::none
                                  : variant.joins < long_patience        ? Join::Widening::patient
                                                                         : Join::Widening::hasty;
  const Linears lines = Linears::join(variant.linears, variant.state.current(), linears, c_.state_.current());
  if (widening == Join::Widening::none) {
    std::swap(variant.state, joined_);
  } else {
    Join join(c_.pool_, c_.analysis_, landmarks_, c_.last_id_, widening, loses_pointers);
    if (!join(variant.state, c_.state_, c_.insn_)) return give_up();
  }
  variant.linears = lines;
  variant.linears.sharpen(variant.state.current());
  variant.linears.settle(variant.state.current());
  variant.is_pending = true;
  variant.joins++;
  return true;
}

/// What ranking will ask for: of every point inside a loop, the registers and slots of its frame.
void SecondGear::note_numbers() {
  for (auto& [place, point] : points_) {
    const u32 insn = point.where.insns[point.where.depth];
    if (loops_around(insn).empty()) continue;
    auto [entry, is_new] = numbers_.try_emplace(insn);
    Numbers& numbers = entry->second;
    for (auto& variant : point.variants) {
      const Frame& frame = variant->state.current();
      note(frame, is_new, numbers);
      is_new = false;
    }
  }
}

/// The checker's state has come to the head of a loop from outside of it: another function's instruction, or none.
void SecondGear::note_entry() {
  const auto around = loops_around(c_.insn_);
  if (around.empty()) return;
  const Loop& loop = loops_.loops[around.back()];
  if (loop.head != c_.insn_) return;
  if (!c_.path_.empty() && std::ranges::binary_search(loop.body, c_.path_.back().insn)) return;
  auto [entry, is_new] = entries_.try_emplace(c_.insn_);
  note(c_.state_.current(), is_new, entry->second);
}

/// Of a loop as paths took it: a part of that with the same head, into which the head is reached from the whole of it.
const SecondGear::Numbers* SecondGear::entry_of(const ExploredProgram& explored, const Loop& loop) const {
  const auto around = loops_around(loop.head);
  const auto entry = entries_.find(loop.head);
  if (around.empty() || entry == entries_.end()) return nullptr;
  const Loop& whole = loops_.loops[around.back()];
  if (whole.head != loop.head) return nullptr;
  const LoopBody body(explored, whole);
  for (u32 i : whole.body) {
    if (!explored.proofs[i].reached || std::ranges::binary_search(loop.body, i)) continue;
    const Successors ways = body.ways(i);
    if (std::ranges::find(ways, loop.head) != ways.end()) return nullptr;
  }
  return &entry->second;
}

Ends SecondGear::ends() const {
  const auto number_at = [this](u32 insn, u32 place) -> std::optional<Scalar> {
    const auto entry = numbers_.find(insn);
    return entry == numbers_.end() ? std::nullopt : entry->second[place];
  };
  const std::vector<StackTouch> touches = c_.stack_touches();
  std::vector<const Loop*> unrolled;
  for (u32 l = 0; l < loops_.loops.size(); l++)
    if (!is_endless_[l]) unrolled.push_back(&loops_.loops[l]);
  std::ranges::sort(unrolled, {}, [](const Loop* l) { return l->head; });
  const ExploredProgram explored{c_.program_, c_.analysis_, c_.proofs_, touches};
  const auto entry = [this, &explored](const Loop& loop) -> NumberAt {
    const Numbers* numbers = entry_of(explored, loop);
    if (numbers == nullptr) return {};
    return [numbers](u32, u32 place) { return (*numbers)[place]; };
  };
  // No two visits are in the same rounds of all the loops around, and those of the last rounds are counted.
  const auto not_counted = [this](u32 insn) {
    u64 visits = 1;
    for (std::size_t level = 0; level < std::min<std::size_t>(loops_around(insn).size(), most_levels); level++)
      visits *= patience_.rounds;
    return visits;
  };
  return Ranking{explored, number_at, unrolled, patience_.rounds, entry, not_counted}.ends();
}

}  // namespace skep::verify
