// What a step matters for: slots that are read by the path's last step, or by what follows it.
#include <gtest/gtest.h>

#include <map>

#include "verify/observer.hpp"

namespace skep::verify {
namespace {

class Recorder final : public StateObserver {
 public:
  void explored(const Explored& state) override { live_slots[state.insn] = state.frames[0].live_slots; }
  std::unique_ptr<StateObserver> attempt() const override { return nullptr; }
  void become(StateObserver&) override {}
  void proved(std::optional<u64>) override {}
  std::map<u32, u64> live_slots;  ///< before an instruction
};

class TrailOfThreeSteps : public testing::Test {
 protected:
  TrailOfThreeSteps() {
    analysis_.insns.resize(3);
    analysis_.functions.resize(1);
    state_.frames[0] = pool_.new_frame();
    state_.frames[0]->slot_count = 2;
    for (u32 insn = 0; insn < 3; insn++) trail.enter(state_, analysis_, insn, insn + 1);
  }
  ~TrailOfThreeSteps() override { pool_.free_frame(state_.frames[0]); }

  Recorder seen;
  Trail trail{seen};

 private:
  Pool pool_;
  Analysis analysis_;
  State state_;
};

TEST_F(TrailOfThreeSteps, AStepReadsBeforeItWrites) {
  trail.wrote_slot(0, 1);
  trail.read_slot(0, 1, true);
  trail.shrink(0);
  EXPECT_EQ(seen.live_slots, (std::map<u32, u64>{{0, 2}, {1, 2}, {2, 2}}));
}

TEST_F(TrailOfThreeSteps, WhatFollowsAPathReadsWhatItsLastStepWrote) {
  trail.wrote_slot(0, 1);
  trail.read_slot(0, 1, false);
  trail.read_slot(0, 0, false);
  trail.shrink(0);
  EXPECT_EQ(seen.live_slots, (std::map<u32, u64>{{0, 1}, {1, 1}, {2, 1}})) << "slot 1 matters to no state before";
}

TEST_F(TrailOfThreeSteps, AWriteInTheMiddleHidesWhatWasBefore) {
  trail.shrink(2);
  trail.wrote_slot(0, 0);
  trail.read_slot(0, 0, false);
  trail.shrink(0);
  EXPECT_EQ(seen.live_slots, (std::map<u32, u64>{{0, 0}, {1, 0}, {2, 0}}));
}

}  // namespace
}  // namespace skep::verify
