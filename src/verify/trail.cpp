// The states along the path, and what they turn out to matter for. See observer.hpp.
#include "verify/observer.hpp"

namespace skep::verify {

void Trail::enter(const State& state, const Analysis& analysis, u32 insn, std::size_t length, bool everything) {
  entries_.resize(length);
  Entry& entry = entries_.back();
  entry.state.insn = insn;
  entry.state.frames.resize(state.depth + 1);
  for (u32 d = 0; d <= state.depth; d++) {
    const Frame& from = *state.frames[d];
    ExploredFrame& to = entry.state.frames[d];
    to.regs = from.regs;
    to.function = analysis.functions[from.function].first;
    to.call_insn = from.call_insn;
    to.live_regs = analysis.insns[d == state.depth ? insn : state.frames[d + 1]->call_insn].live;
    if (everything) to.precise_regs = 0x7ff, to.live_slots = to.precise_slots = ~u64{0};
    to.slots.resize(from.slot_count);
    for (u32 s = 0; s < from.slot_count; s++) {
      to.slots[s].bytes = from.slots[s].bytes;
      if (from.slots[s].spill != nullptr) to.slots[s].held = from.slots[s].spill->value;
    }
  }
}

void Trail::shrink(std::size_t length) {
  for (; entries_.size() > length; entries_.pop_back())
    if (!entries_.back().state.frames.empty()) observer_.explored(entries_.back().state);
}

void Trail::mark(std::size_t at, const std::array<u16, isa::max_call_frames>& regs, const FrameMasks& slots) {
  if (at >= entries_.size()) return;
  auto& frames = entries_[at].state.frames;
  for (u32 d = 0; d < frames.size(); d++) {
    frames[d].precise_regs = static_cast<u16>(frames[d].precise_regs | regs[d]);
    frames[d].precise_slots |= slots[d];
  }
}

void Trail::wrote_slot(u32 frame, u32 slot) {
  if (!entries_.empty()) entries_.back().written[frame] |= u64{1} << slot;
}

/// The slot matters to every step since it was last written.
void Trail::read_slot(u32 frame, u32 slot, bool by_last) {
  const u64 bit = u64{1} << slot;
  for (std::size_t at = entries_.size(); at-- > 0;) {
    Entry& entry = entries_[at];
    const bool is_reader = by_last && at + 1 == entries_.size();
    if (!is_reader && (entry.written[frame] & bit) != 0) return;
    if (entry.state.frames.empty()) continue;
    if (frame >= entry.state.frames.size() || (entry.state.frames[frame].live_slots & bit) != 0) return;
    entry.state.frames[frame].live_slots |= bit;
  }
}

}  // namespace skep::verify
