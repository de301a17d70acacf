// The states along the path, and what they turn out to matter for. See observer.hpp.
#include "verify/observer.hpp"

namespace skep::verify {

void Trail::enter(const State& state, const Analysis& analysis, u32 insn, std::size_t length, bool everything) {
  entries_.resize(length);
  Entry& entry = entries_.back();
  entry = {insn, static_cast<u32>(frames_.size()), state.depth + 1, static_cast<u32>(values_.size()), {}};
  const u32 depth_before = length > 1 ? entries_[length - 2].depth : 0;
  for (u32 d = 0; d <= state.depth; d++) {
    const Frame& from = *state.frames[d];
    const ExploredFrame before = d < depth_before ? frames_[entry.first_frame - depth_before + d] : ExploredFrame{};
    ExploredFrame& to = frames_.emplace_back();
    to.function = analysis.functions[from.function].first;
    to.call_insn = from.call_insn;
    to.first_slot = static_cast<u32>(slots_.size());
    to.slot_count = from.slot_count;
    to.live_regs = analysis.insns[d == state.depth ? insn : state.frames[d + 1]->call_insn].live;
    if (everything) to.precise_regs = 0x7ff, to.live_slots = to.precise_slots = ~u64{0};
    for (u32 r = 0; r < isa::register_count; r++)
      if ((to.live_regs >> r & 1) != 0) to.regs[r] = place_of(from.regs[r], before.regs[r]);
    for (u32 s = 0; s < from.slot_count; s++) {
      ExploredSlot& slot = slots_.emplace_back();
      slot.bytes = from.slots[s].bytes;
      const u32 likely = s < before.slot_count ? slots_[before.first_slot + s].value - 1 : 0;
      if (from.slots[s].spill != nullptr) slot.value = place_of(from.slots[s].spill->value, likely) + 1;
    }
  }
}

/// Where the value stands: most stood at the same place before the last step.
u32 Trail::place_of(const Register& value, u32 likely) {
  if (likely < values_.size() && values_[likely] == value) return likely;
  values_.push_back(value);
  return static_cast<u32>(values_.size() - 1);
}

void Trail::shrink(std::size_t length) {
  for (; entries_.size() > length; entries_.pop_back()) {
    const Entry& entry = entries_.back();
    if (entry.depth == 0) continue;
    observer_.explored({entry.insn, frames_of(entry), slots_, values_});
    values_.resize(entry.first_value);
    slots_.resize(frames_[entry.first_frame].first_slot);
    frames_.resize(entry.first_frame);
  }
}

void Trail::mark(std::size_t at, const std::array<u16, isa::max_call_frames>& regs, const FrameMasks& slots) {
  if (at >= entries_.size()) return;
  const std::span<ExploredFrame> frames = frames_of(entries_[at]);
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
    const Entry& entry = entries_[at];
    const bool is_reader = by_last && at + 1 == entries_.size();
    if (!is_reader && (entry.written[frame] & bit) != 0) return;
    if (entry.depth == 0) continue;
    const std::span<ExploredFrame> frames = frames_of(entry);
    if (frame >= frames.size() || (frames[frame].live_slots & bit) != 0) return;
    frames[frame].live_slots |= bit;
  }
}

}  // namespace skep::verify
