// Which stack slots may still be read from an instruction on, whatever path leads there: Linux's notion of liveness.
//
// Checkpoints know better (Checkpoint::live_slots follows their own paths), so states are pruned sooner by those. The
// kernel asks this coarser question since 6.18, and the rule set `kernel` predicts how much work it does: a slot that
// the kernel takes for alive must agree there too.
//
// Reads are told as the exploration meets them; each is carried backwards over the control flow, up to the
// instructions that always write the whole slot. Knowledge only grows, so that costs as much as it tells. One instance
// for each chain of calls that leads into a function; what a callee reads of its callers' frames is carried into them.
// Source: Linux 6.18, kernel/bpf/liveness.c.
#pragma once
#include <vector>

#include "verify/analysis.hpp"

namespace skep::verify {

class StackLiveness {
 public:
  void start(const ProgramSpec& program, const Analysis& analysis);
  /// The instance of a function that nobody calls.
  u32 root(u32 function);
  /// The instance of `function` as called by the instruction `call` of `caller`.
  u32 enter(u32 caller, u32 call, u32 function);
  /// The instruction reads a slot of the frame at depth `frame` of this chain of calls.
  void read(u32 instance, u32 insn, u32 frame, u32 slot);
  /// Slots of the frame at depth `frame` that may be read from `insn` on, before the function returns.
  u64 live(u32 instance, u32 insn, u32 frame) const {
    const Instance& i = instances_[instance];
    return i.live[(insn - i.first) * (i.depth + 1) + frame];
  }

 private:
  struct Instance {
    u32 parent = 0, call = 0, function = 0;
    u32 first = 0;  ///< instruction of the function
    u32 depth = 0;
    std::vector<u64> live;  ///< by instruction of the function and frame
  };
  u32 add(Instance instance);

  const Analysis* analysis_ = nullptr;
  std::vector<u64> writes_;        ///< by instruction: slots of the own frame it always writes whole
  std::vector<u32> sources_;       ///< instructions before, of all instructions
  std::vector<u32> first_source_;  ///< by instruction: where its own begin
  std::vector<u32> work_;
  std::vector<Instance> instances_;
};

}  // namespace skep::verify
