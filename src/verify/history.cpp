// The undo log of a path's registers.
#include "verify/history.hpp"

#include <algorithm>

namespace skep::verify {

void History::before(std::size_t length, u32 insn, const State& state) {
  visits_[insn]++;
  if (overflowed_) return;
  const Frame& frame = state.current();
  const u32 step = static_cast<u32>(length) - 1;
  depths_.resize(length, static_cast<u8>(state.depth));  // steps between that execute nothing belong to this frame
  for (u32 r = 0; r < isa::register_count; r++) {
    if (now_[r] == frame.regs[r]) continue;
    changes_.push_back({step, static_cast<u8>(r), now_[r]});
    now_[r] = frame.regs[r];
  }
  overflowed_ = changes_.size() > most_changes;
}

void History::shrink(std::size_t length) {
  if (overflowed_) return;
  for (; !changes_.empty() && changes_.back().step >= length; changes_.pop_back())
    now_[changes_.back().reg] = changes_.back().old;
  if (depths_.size() > length) depths_.resize(length);
}

void History::finish(std::size_t length) {
  if (overflowed_) return;
  shrink(length);
  const std::size_t steps = depths_.size();
  first_ = steps > most_steps ? steps - most_steps : 0;
  table_.resize(steps - first_);
  std::size_t change = changes_.size();
  for (std::size_t step = steps; step-- > first_;) {
    table_[step - first_] = now_;
    for (; change > 0 && changes_[change - 1].step >= step; change--)
      now_[changes_[change - 1].reg] = changes_[change - 1].old;
  }
  changes_.clear();
}

const History::Registers* History::at(std::size_t step) const {
  return step >= first_ && step - first_ < table_.size() ? &table_[step - first_] : nullptr;
}

u32 History::depth(std::size_t step) const { return step < depths_.size() ? depths_[step] : 0; }

}  // namespace skep::verify
