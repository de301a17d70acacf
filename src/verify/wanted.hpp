// What a walk back over a path looks for (precision.cpp).
#pragma once
#include "verify/checker.hpp"

namespace skep::verify {

/// Registers and slots whose numbers matter, while walking back; `depth` is the frame of the walk.
struct Checker::Wanted {
  u32 depth = 0;
  std::array<u16, isa::max_call_frames> regs{};
  FrameMasks slots{};

  bool empty() const {
    for (u32 d = 0; d < isa::max_call_frames; d++)
      if (regs[d] != 0 || slots[d] != 0) return false;
    return true;
  }
  /// Every number in the state.
  static Wanted everything(const Checkpoint& c) {
    Wanted all;
    for (u32 d = 0; d <= c.state.depth; d++) {
      all.regs[d] = (1u << isa::frame_pointer) - 1;
      const Frame& frame = *c.state.frames[d];
      for (u32 s = 0; s < frame.slot_count; s++)
        if (frame.slots[s].bytes[slot_bytes - 1] == Byte::spilled) all.slots[d] |= u64{1} << s;
    }
    return all;
  }
  bool has(u32 reg) const { return (regs[depth] >> reg & 1) != 0; }
  void add(u32 reg) {
    if (reg != isa::frame_pointer) regs[depth] = static_cast<u16>(regs[depth] | 1u << reg);
  }
  void drop(u32 reg) { regs[depth] = static_cast<u16>(regs[depth] & ~(1u << reg)); }
};

}  // namespace skep::verify
