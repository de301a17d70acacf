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

/// Whether registers are what they are in `b`, and as many of them known to be equal.
bool says_as_much(const Frame& a, const Frame& b) {
  for (u32 r = 0; r < isa::frame_pointer; r++) {
    const Register &x = a.regs[r], &y = b.regs[r];
    if (x.kind != y.kind || !(x.number == y.number) || (x.id == 0) != (y.id == 0)) return false;
  }
  return true;
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
      is_head_(checker.program_.insns.size()),
      around_(loops_.loops.size()),
      is_endless_(loops_.loops.size()) {
  for (u32 l = 0; l < loops_.loops.size(); l++) {  // outer ones first
    if (loops_.loops[l].outer >= 0) around_[l] = around_[static_cast<u32>(loops_.loops[l].outer)];
    around_[l].push_back(l);
    is_head_[loops_.loops[l].head] = true;
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
      taken.back()->relations = variant->relations;
    }
  }
  bool ok = true;
  for (auto& variant : taken) {
    c_.pool_.release(c_.state_);
    c_.state_ = std::exchange(variant->state, State{});
    where_ = where;
    c_.insn_ = where.insns[where.depth];
    mark_head(variant->relations);
    ok = ok && run_from_here(variant->relations);
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
bool SecondGear::run_from_here(Relations relations) {
  while (true) {
    c_.path_.clear();
    c_.links_.clear();
    if (c_.trail_) c_.trail_->shrink(0);
    for (bool is_first = true;; is_first = false) {
      if (!is_first && meets_others(c_.insn_)) {
        if (!arrive(relations)) return false;
        break;
      }
      if (!step(relations)) return false;
      if (c_.path_ends_) break;
    }
    c_.path_ends_ = false;
    if (loose_.empty()) return true;
    c_.pool_.release(c_.state_);
    c_.state_ = std::move(loose_.back().state);
    loose_.back().state.frames = {};
    c_.insn_ = loose_.back().insn;
    relations = loose_.back().relations;
    loose_.pop_back();
  }
}

bool SecondGear::step(Relations& relations) {
  if (++c_.processed_ > c_.max_insns_) return give_up();
  const u32 at = c_.insn_, depth = c_.state_.depth;
  c_.path_.push_back({.insn = at});
  if (c_.trail_) c_.trail_->enter(c_.state_, c_.analysis_, at, c_.path_.size(), true);
  c_.proofs_[at].reached = true;
  if (!patience_.keeps_gaps && relations.lines.is_empty()) {  // nothing to follow
    if (!c_.step() || c_.refused_) return false;
    return c_.pending_.empty() || take_branches(relations, relations, depth);
  }
  const Insn& insn = c_.program_.insns[at];
  const isa::Op op = c_.analysis_.insns[at].op;
  const Relations before = relations;
  const Register dst = c_.reg(insn.dst), src = c_.reg(insn.src);
  if (!c_.step() || c_.refused_) return false;
  bool is_possible = true;
  if (c_.state_.depth != depth)  // another function's registers
    relations.forget_all();
  else if (!c_.path_ends_)
    is_possible = relations.follow(insn, op, dst, src, c_.state_.current(), patience_.keeps_gaps);
  if (!c_.pending_.empty() && !take_branches(before, relations, depth)) return false;
  if (!c_.path_ends_ && isa::is_conditional(isa::row(op).form))
    is_possible = learn(relations, at, c_.insn_, c_.state_.current());
  if (!is_possible) c_.path_ends_ = true;
  return true;
}

/// The jump at `at` went on at `to`. False: it cannot.
bool SecondGear::learn(Relations& relations, u32 at, u32 to, Frame& frame) const {
  const Insn& insn = c_.program_.insns[at];
  const isa::Op op = c_.analysis_.insns[at].op;
  if (isa::row(op).form == Form::jump_reg && patience_.keeps_gaps) {
    const u32 target = at + 1 + static_cast<u32>(isa::jump_distance(Form::jump_reg, insn));
    if (target != at + 1 && !relations.gaps.learn(insn, op, to == target, frame)) return false;
  }
  return relations.sharpen(frame);
}

/// What the last step left to be explored, too. A step that is done again for one case has not been done before.
bool SecondGear::take_branches(const Relations& before, const Relations& after, u32 depth) {
  State here = std::move(c_.state_);
  const u32 insn = c_.insn_, from = c_.path_.back().insn;
  c_.state_.frames = {};
  bool ok = true;
  while (!c_.pending_.empty()) {
    Pending branch = std::move(c_.pending_.back());
    c_.pending_.pop_back();
    const bool is_again = branch.insn == from && !isa::is_jump(isa::row(c_.analysis_.insns[from].op).form);
    const bool is_elsewhere = branch.enters_callback || branch.state.depth != depth;
    Relations relations = is_again ? before : is_elsewhere ? Relations{} : after;
    if (!learn(relations, from, branch.insn, branch.state.current()) || !ok) {
      c_.pool_.release(branch.state);
      branch.state.frames = {};
      continue;
    }
    if (!meets_others(branch.insn) || is_again) {
      loose_.push_back({std::move(branch.state), relations, branch.insn});
      branch.state.frames = {};
      continue;
    }
    c_.state_ = std::move(branch.state);
    branch.state.frames = {};
    c_.insn_ = branch.insn;
    ok = arrive(relations);
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
bool SecondGear::arrive(Relations relations) {
  constexpr std::size_t many_variants = 16, most_variants = 64;
  if (c_.pool_.bytes() > c_.state_limit_) return give_up();
  forget_dead(c_.state_, c_.insn_);
  if (!relations.sharpen(c_.state_.current())) return true;
  relations.settle(c_.state_.current());
  note_entry();
  note_round(relations);
  const Where where = next_place();
  const auto entry = points_.try_emplace(order_of(where)).first;
  Point& point = entry->second;
  point.where = where;
  Found found;
  Variant* alike = find_alike(point, relations, false, found);
  const bool loses_pointers = alike == nullptr && !found.is_covered && point.variants.size() >= many_variants;
  if (loses_pointers) alike = find_alike(point, relations, true, found);
  if (found.is_covered) return true;
  pending_.insert(entry);
  const auto around = loops_around(c_.insn_);
  const bool is_head = !around.empty() && loops_.loops[around.back()].head == c_.insn_ && is_endless_[around.back()];
  const bool is_circle = is_head || c_.facts().converges;
  if (alike != nullptr && (is_circle || found.covers || found.count >= patience_.variants))
    return join_into(*alike, relations, is_circle, loses_pointers);
  if (point.variants.size() >= most_variants) return give_up();
  add_variant(point, relations);
  return true;
}

/// The last variant of the checker's state's shape, joined with it in `joined_`, and how many there are; or that one
/// covers it; or, where ways are kept apart, the one that it covers.
SecondGear::Variant* SecondGear::find_alike(Point& point, const Relations& relations, bool loses_pointers,
                                            Found& found) {
  State trial;
  Variant* alike = nullptr;
  found.count = 0;
  const auto joins = [&](const State& a, const State& b) {
    c_.pool_.copy(trial, a);
    return Join(c_.pool_, c_.analysis_, landmarks_, c_.last_id_, Join::Widening::none, loses_pointers)(trial, b,
                                                                                                       c_.insn_);
  };
  for (auto& variant : point.variants) {
    if (!same_kinds(variant->state, c_.state_) || !joins(variant->state, c_.state_)) continue;
    found.is_covered = same_frames(trial, variant->state) &&
                       variant->relations.cover(variant->state.current(), relations, c_.state_.current());
    if (found.is_covered) break;
    alike = variant.get();
    std::swap(trial, joined_);
    found.count++;
    found.covers = patience_.variants > 1 && says_as_much(joined_.current(), c_.state_.current()) &&
                   relations.cover(c_.state_.current(), variant->relations, variant->state.current());
    if (found.covers) break;
  }
  c_.pool_.release(trial);
  return alike;
}

void SecondGear::add_variant(Point& point, const Relations& relations) {
  Variant& variant = *point.variants.emplace_back(std::make_unique<Variant>());
  variant.state = std::exchange(c_.state_, State{});
  variant.relations = relations;
  c_.state_count_++;
}

bool SecondGear::join_into(Variant& variant, const Relations& relations, bool is_circle, bool loses_pointers) {
  constexpr u32 patience = 2, longer = 12, longest = 40;
  const Join::Widening widening = !is_circle || variant.joins < patience ? Join::Widening::none
                                  : variant.joins < longer               ? Join::Widening::patient
                                  : variant.joins < longest              ? Join::Widening::impatient
                                                                         : Join::Widening::hasty;
  const Relations together = Relations::join(variant.relations, variant.state.current(), relations, c_.state_.current(),
                                             widening != Join::Widening::none);
  if (widening == Join::Widening::none) {
    std::swap(variant.state, joined_);
  } else {
    Join join(c_.pool_, c_.analysis_, landmarks_, c_.last_id_, widening, loses_pointers);
    if (!join(variant.state, c_.state_, c_.insn_)) return give_up();
  }
  variant.relations = together;
  variant.relations.sharpen(variant.state.current());
  variant.relations.settle(variant.state.current());
  variant.is_pending = true;
  variant.joins++;
  return true;
}

}  // namespace skep::verify
