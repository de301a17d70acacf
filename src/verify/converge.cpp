// Loops that end by themselves: iterators, may_goto, and callbacks that a helper calls again and again.
//
// Such a loop may run as often as it likes at run time, so it cannot be followed round by round. It is explored until
// a round begins in a state that an earlier round, still being explored, covers: then nothing new can happen. That is
// sound because covering is asked in full (Match::within: every number counts, every slot) - the rounds between are
// then a loop in the abstract states themselves. To get there, numbers that no proof rested on are widened to
// "any number" when a round begins.
//
// That the states come round does not say that the loop ends: the iterator may be made anew in each round, may_goto
// jump to where the loop goes on, and a loop around may be closed at a call that is done anew each time. Linux lets
// that pass. By the other rules the ways that were closed are noted, and the loops among them have to end by themselves
// (self_ending.hpp), or are looked at with joined paths (ranking.hpp).
//
// What such a loop costs: the checkpoints inside it ended at one whose marks were not complete, so their own marks
// never are (by the kernel's rules they are in the end: stays.cpp). They prune only what they cover in full, and
// whoever ends at one of them takes everything as needed. Idea: Linux 6.7, "exact states comparison for iterator
// convergence checks".
#include "verify/checker.hpp"
#include "verify/ranking.hpp"

namespace skep::verify {

using catalog::MessageId;
using isa::Form;

/// `old` is on this path: an endless loop, or one that has converged (`hit`)? What is known of numbers may come round
/// without them (`hi = (lo + hi) / 2`): joined paths may have a proof then. False: refused, or proved so.
bool Checker::try_active(Checkpoint& old, bool forced, bool& hit) {
  if (forced) {
    bool may_end = form() != Form::call_kfunc || iterator_is_active(old.state);
    if (!may_end || old.state.rounds == state_.rounds || !states_match(old, Match::within)) return true;
    old.hits++;
    hit = true;
    return take_hit(old);
  }
  if (old.state.rounds == state_.rounds && may_loop(old.state) && states_match(old, Match::exact))
    return !prove_joined() && refuse(MessageId::infinite_loop, insn_);
  return true;
}

/// This path ends here, at `old`, which covers it.
bool Checker::take_hit(Checkpoint& old) {
  if (is_kernel()) return end_in_stay(old);
  if (old.active) {
    close_loop(old);
    note_closed(old, old.state.depth);
    return adopt(old, false);
  }
  if (!old.incomplete) return adopt(old, false);
  Checkpoint* entry = old.loop;
  while (entry != nullptr && !entry->active && entry->loop != nullptr && entry->loop != entry) entry = entry->loop;
  if (entry == nullptr || !entry->active) return adopt(old, true);
  close_loop(*entry);
  note_closed(*entry, old.state.depth);
  return adopt(old, false);
}

/// The path from `entry` to here is part of a way that leads back to `entry`, through frames 0 to `depth`. What lies in
/// deeper ones was called on the way, and is called anew each time.
void Checker::note_closed(const Checkpoint& entry, u32 depth) {
  if (is_kernel()) return;
  closed_.resize(program_.insns.size());
  any_closed_ = true;
  std::size_t end = path_.size();
  u32 frame = state_.depth;  // of the steps, walked back
  for (std::size_t k = active_.size(); k-- > 0;) {
    Checkpoint& c = *active_[k];
    const bool is_last = k + 1 == active_.size();
    if (is_last || c.closed_frames <= depth) {
      for (std::size_t at = end; at-- > c.path_length;) {
        const Step& step = path_[at];
        if (step.what == Step::What::descended)
          frame = step.frame - 1u;
        else if (leaves_function(step))
          frame++;
        if (frame <= depth) closed_[step.insn] = true;
      }
      if (!is_last) c.closed_frames = depth + 1;
    }
    if (&c == &entry) return;
    frame = c.state.depth;
    end = c.path_length;
  }
}

/// After every path was followed: whether the loops that were closed end. False: refused, or proved with joined paths.
bool Checker::closed_loops_end() {
  if (!any_closed_) return true;
  const std::vector<StackTouch> touches = stack_touches();
  const auto endless = closed_without_end({program_, analysis_, proofs_, touches}, closed_);
  if (!endless) return true;
  insn_ = *endless;
  return !prove_joined() && refuse(MessageId::infinite_loop, insn_);
}

/// Everything on the path behind `entry` depends on it from here on.
void Checker::close_loop(Checkpoint& entry) {
  entry.is_loop_entry = entry.incomplete = true;
  for (std::size_t k = active_.size(); k-- > 0 && active_[k] != &entry;) {
    Checkpoint& c = *active_[k];
    c.incomplete = true;
    if (c.loop == nullptr || !c.loop->active || entry.path_length < c.loop->path_length) c.loop = &entry;
  }
}

/// The round before: the newest checkpoint at `insn` on this path, with the same calls around it.
Checkpoint* Checker::previous_round(const State& state, u32 insn, bool skip_newest) {
  for (std::size_t k = active_.size(); k-- > 0;) {
    Checkpoint& c = *active_[k];
    if (c.insn != insn || c.state.depth != state.depth) continue;
    bool same_calls = true;
    for (u32 d = 1; d <= state.depth; d++)
      same_calls = same_calls && c.state.frames[d]->call_insn == state.frames[d]->call_insn;
    if (!same_calls) continue;
    if (!skip_newest) return &c;
    skip_newest = false;
  }
  return nullptr;
}

/// Forgets numbers that differ from the round before, where nothing rested on them.
void Checker::widen(const Checkpoint& before, State& state) {
  for (u32 d = 0; d <= state.depth && d <= before.state.depth; d++) {
    const Frame& old = *before.state.frames[d];
    Frame& now = *state.frames[d];
    for (u32 r = 0; r < isa::frame_pointer; r++) {
      const Register& was = old.regs[r];
      if ((before.precise_regs[d] >> r & 1) != 0 || !was.is_scalar() || !now.regs[r].is_scalar()) continue;
      if (!(was.number == now.regs[r].number)) now.regs[r] = Register::unknown();
    }
    for (u32 s = 0; s < old.slot_count && s < now.slot_count; s++) {
      const Slot &a = old.slots[s], &b = now.slots[s];
      if ((before.precise_slots[d] >> s & 1) != 0 || a.spill == nullptr || b.spill == nullptr) continue;
      if (!a.spill->value.is_scalar() || !b.spill->value.is_scalar()) continue;
      if (!(a.spill->value.number == b.spill->value.number)) pool_.set_spill(now.slots[s], Register::unknown());
    }
  }
}

/// may_goto: the budget may be used up (the jump), or not (the next instruction).
bool Checker::do_may_goto() {
  jumps_++;
  const u32 target = insn_ + 1 + static_cast<u32>(s32{insn().off});
  Checkpoint* before = previous_round(state_, insn_, true);
  push_pending(next_insn());
  proofs_[insn_].jump_taken = proofs_[insn_].jump_passed = true;
  State& round = pending_.back().state;
  round.rounds++;
  if (before != nullptr) widen(*before, round);
  insn_ = target;
  return true;
}

}  // namespace skep::verify
