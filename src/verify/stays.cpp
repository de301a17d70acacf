// How long marks of states in a loop are not complete: Linux's answer, for Rules::kernel.
//
// A round of a loop that ends by itself (converge.cpp) may end at a state of an earlier round that is still being
// explored. What that state rests on is not known then, so nobody can say yet what the states between rest on. Until
// all paths from the loop's entry are done, states of the loop are compared as if every number counted. Then the marks
// are carried over each way back, again and again until nothing new is marked, and the states are as good as any other.
//
// A stay is such a time: of one loop (a strongly connected part of a function), reached by one chain of calls. What is
// called from inside belongs to it. Other rules than the kernel's take the simpler way: such states stay incomplete.
//
// The loop of a callback that a helper calls again and again is a stay, too, but Linux 6.18 does not see it as one: it
// takes the marks inside for complete at once, which later releases mended. To process what it processes and be right
// all the same, states of such a loop are trusted while it is followed, and looked at once more when all marks are
// known. Where one does not cover what it was taken to cover, everything is explored again, without that trust. Source:
// Linux 6.17, "states with loop entry have incomplete read/precision marks" (bpf_scc_visit, propagate_backedges).
#include <algorithm>
#include <iterator>

#include "verify/checker.hpp"
#include "verify/loops.hpp"
#include "verify/wanted.hpp"

namespace skep::verify {

using isa::Form;

void Checker::find_stays() {
  loop_of_.clear();
  callback_of_.clear();
  if (!is_kernel() || std::ranges::none_of(analysis_.insns, &InsnFacts::converges)) return;
  loop_of_.resize(program_.insns.size());
  callback_of_.resize(program_.insns.size());
  u32 number = 0;
  for (const Loop& loop : find_loops(program_, analysis_, {}).loops) {
    if (loop.outer >= 0) continue;
    ++number;
    for (const u32 insn : loop.body) loop_of_[insn] = number;
  }
  for (u32 insn = 0; insn < loop_of_.size(); insn++) {
    const Form form = isa::row(analysis_.insns[insn].op).form;
    const catalog::Kfunc* kfunc = form == Form::call_kfunc ? analysis_.kfunc_at(insn) : nullptr;
    const bool is_next = kfunc != nullptr && kfunc->has(catalog::kfunc_flags::iter_next);
    if (analysis_.insns[insn].converges && form != Form::may_goto && !is_next) callback_of_[insn] = ++number;
  }
}

/// The stay of the outermost of these loops that the current state is part of, or null: it is in none.
Stay* Checker::stay_in(const std::vector<u32>& loop_of) {
  if (loop_of.empty()) return nullptr;
  std::vector<u32> chain;
  for (u32 depth = 0; depth <= state_.depth; depth++) {
    const u32 at = depth == state_.depth ? insn_ : state_.frames[depth + 1]->call_insn;
    chain.push_back(loop_of[at] != 0 ? loop_of[at] : at);
    if (loop_of[at] != 0) return &stays_[chain];
  }
  return nullptr;
}

void Checker::enter_stays(Checkpoint& made) {
  made.stay = stay_in(loop_of_);
  made.calls = stay_in(callback_of_);
  if (made.stay == nullptr && made.calls == nullptr) return;
  made.before = active_.empty() ? nullptr : active_.back();
  for (Stay* stay : {made.stay, made.calls})
    if (stay != nullptr && stay->entry == nullptr) stay->entry = &made;
}

namespace {
/// Steps [from, to) with their links.
Way copied(const std::vector<Step>& path, const std::vector<Links>& links, std::size_t from, std::size_t to) {
  Way way;
  way.steps.assign(path.begin() + static_cast<std::ptrdiff_t>(from), path.begin() + static_cast<std::ptrdiff_t>(to));
  for (Step& step : way.steps) {
    if (!step.has_links) continue;
    way.links.push_back(links[step.links]);
    step.links = static_cast<u32>(way.links.size() - 1);
  }
  return way;
}
}  // namespace

/// The path ends here, at `old`. What it rests on may not be known yet.
bool Checker::end_in_stay(Checkpoint& old) {
  const bool calls_back = callback_of_.empty() ? false : callback_of_[insn_] != 0;
  const bool is_open = (old.active && !calls_back) || (!old.active && old.stay != nullptr && old.stay->is_open);
  const bool calls_open = (old.active && calls_back) || (!old.active && old.calls != nullptr && old.calls->is_open);
  if (!adopt(old, false)) return false;
  if (active_.empty()) return true;
  if (is_open && old.stay != nullptr) {
    old.stay->is_open = true;
    note_way_back(old, *old.stay);
  } else if (calls_open && old.calls != nullptr) {
    old.calls->is_open = true;
    note_way_back(old, *old.calls);
    if (old.active || distrusts_callbacks_) return true;
    Trusted& trusted = old.calls->trusted.emplace_back();
    trusted.old = &old;
    pool_.copy(trusted.now, state_);
    trusted.insn = insn_;
  }
  return true;
}

void Checker::note_way_back(Checkpoint& old, Stay& stay) {
  WayBack& back = stay.back.emplace_back();
  back.equal = &old;
  back.before = active_.back();
  back.way = copied(path_, links_, active_.back()->path_length, path_.size());
  back.depth = state_.depth;
  for (u32 depth = 0; depth <= state_.depth; depth++) {
    const Frame& frame = *state_.frames[depth];
    for (u32 r = 0; r < isa::frame_pointer; r++)
      if (frame.regs[r].is_scalar()) back.numbers[depth] = static_cast<u16>(back.numbers[depth] | 1u << r);
    for (u32 s = 0; s < frame.slot_count; s++)
      if (frame.slots[s].spill != nullptr && frame.slots[s].spill->value.is_scalar())
        back.number_slots[depth] |= u64{1} << s;
  }
}

/// All paths from `done`, the last of the active ones, are done; the path up to it is still there.
void Checker::leave(Checkpoint& done) {
  const auto goes_on = [](const Stay* stay) { return stay != nullptr && stay->entry != nullptr; };
  if (done.stay != nullptr && done.stay->entry == &done) finish(*done.stay, goes_on(done.calls) ? done.calls : nullptr);
  if (done.calls != nullptr && done.calls->entry == &done)
    finish(*done.calls, goes_on(done.stay) ? done.stay : nullptr);
  Stay* around = goes_on(done.calls) ? done.calls : goes_on(done.stay) ? done.stay : nullptr;
  if (around == nullptr) return;
  const std::size_t from = done.before != nullptr ? done.before->path_length : 0;
  done.way = std::make_unique<Way>(copied(path_, links_, from, done.path_length));
  around->done.push_back(&done);
}

/// Carries marks over the ways back until nothing is new. `around`: a stay that goes on, from which more marks may
/// come.
void Checker::finish(Stay& stay, Stay* around) {
  constexpr u32 most_rounds = 64;
  bool changed = true;
  for (u32 round = 0; changed; round++) {
    changed = false;
    for (std::size_t k = stay.back.size(); k-- > 0;) changed = carry_back(stay.back[k], round > most_rounds) || changed;
    if (round > most_rounds) break;
  }
  if (around != nullptr) {
    std::ranges::move(stay.back, std::back_inserter(around->back));
    std::ranges::move(stay.done, std::back_inserter(around->done));
    std::ranges::move(stay.trusted, std::back_inserter(around->trusted));
  } else {
    for (Trusted& trusted : stay.trusted) {
      has_doubts_ = has_doubts_ || !still_covers(trusted);
      pool_.release(trusted.now);
    }
    for (Checkpoint* inside : stay.done) inside->way.reset();
  }
  stay = {};
}

/// Whether the state covers what it was taken to cover, now that its marks are complete.
bool Checker::still_covers(Trusted& trusted) {
  std::swap(state_, trusted.now);
  std::swap(insn_, trusted.insn);
  for (u32 depth = 0; depth <= state_.depth; depth++) trusted.old->may_be_read[depth] |= live_slots(depth);
  const bool covers = states_match(*trusted.old, Match::covers);
  std::swap(state_, trusted.now);
  std::swap(insn_, trusted.insn);
  return covers;
}

/// What the state at the end of `way` rests on, the states before it rest on too. Whether that was news to any of the
/// loop's.
bool Checker::carry_back(const WayBack& way, bool everything) {
  Wanted wanted;
  wanted.depth = way.depth;
  for (u32 depth = 0; depth <= way.depth; depth++) {
    wanted.regs[depth] = static_cast<u16>(way.numbers[depth] & (everything ? 0xffff : way.equal->precise_regs[depth]));
    wanted.slots[depth] = way.number_slots[depth] & (everything ? ~u64{0} : way.equal->precise_slots[depth]);
  }
  bool changed = false, is_lost = false;
  const Way* steps = &way.way;
  for (Checkpoint* at = way.before; at != nullptr && (is_lost || !wanted.empty()); at = at->before) {
    for (std::size_t k = steps->steps.size(); k-- > 0 && !is_lost && !wanted.empty();)
      is_lost = !step_back(wanted, steps->steps[k], steps->links);
    if (is_lost) wanted = Wanted::everything(*at);
    changed = mark(*at, wanted) || changed;
    if (at->active) {  // on from there, over the path
      if (!is_lost && !wanted.empty() && at->path_length != 0) {
        is_lost = !step_back(wanted, path_[at->path_length - 1], links_);
        if (!is_lost) propagate(wanted, at->path_length - 1);
      }
      for (std::size_t k = 0; is_lost && k < active_.size(); k++) {
        Wanted all = Wanted::everything(*active_[k]);
        mark(*active_[k], all);
      }
      break;
    }
    if (at->way == nullptr) break;
    steps = at->way.get();
  }
  return changed;
}

}  // namespace skep::verify
