// Every explored state, with what the proof rested on: for tests of the law of state embedding.
//
// The law: when an accepted program runs, then before every instruction some explored state holds the machine.
// "Holds" is meant as the proof means it: registers that are dead, slots that are not read and numbers that no
// decision was made on may be anything, because that is how states were compared when paths were cut short. So an
// explored state comes with its marks. They are complete only when every path that goes on from it is done, which is
// when the observer sees it: a Trail keeps the states along the current path until then.
//
// Nothing of this exists, but a null pointer, where nobody observes.
#pragma once
#include "verify/analysis.hpp"
#include "verify/state.hpp"

namespace skep::verify {

struct ExploredSlot {
  std::array<Byte, slot_bytes> bytes{};
  Register held;  ///< what the bytes that are Byte::spilled (or special) are part of
};

struct ExploredFrame {
  std::array<Register, isa::register_count> regs;
  u32 function = 0;   ///< its first instruction
  u32 call_insn = 0;  ///< the call that made it; meaningless in frame 0
  std::vector<ExploredSlot> slots;
  u16 live_regs = 0;     ///< may be read
  u16 precise_regs = 0;  ///< their numbers decided something
  u64 live_slots = 0, precise_slots = 0;
};

/// The abstract machine before one instruction of one path. Frame 0 is the function that is verified: the program, a
/// global function, a callback that runs later.
struct Explored {
  u32 insn = 0;
  std::vector<ExploredFrame> frames;
};

class StateObserver {
 public:
  virtual ~StateObserver() = default;
  virtual void explored(const Explored& state) = 0;
  /// What was explored so far does not count: the proof is another one.
  virtual void forget() = 0;
  /// The program is accepted. A run of it executes so many instructions at most, without those of programs that it tail
  /// calls; none: they were not counted (longest_run.cpp).
  virtual void proved(std::optional<u64> longest_run) = 0;
};

/// Keeps states until it is known whether they count.
class KeptStates final : public StateObserver {
 public:
  void explored(const Explored& state) override { states_.push_back(state); }
  void forget() override { states_.clear(); }
  void proved(std::optional<u64> longest_run) override { longest_run_ = longest_run; }
  void tell(StateObserver& observer) const {
    for (const Explored& state : states_) observer.explored(state);
    observer.proved(longest_run_);
  }

 private:
  std::vector<Explored> states_;
  std::optional<u64> longest_run_;
};

/// The explored states along the current path, parallel to Checker::path_.
class Trail {
 public:
  explicit Trail(StateObserver& observer) : observer_(observer) {}

  /// The step that was just put on the path, which has `length` steps now, begins in `state`. `everything`: all its
  /// numbers and slots matter.
  void enter(const State& state, const Analysis& analysis, u32 insn, std::size_t length, bool everything = false);
  /// The path has `length` steps from here on; what is behind is complete.
  void shrink(std::size_t length);
  void proved(std::optional<u64> longest_run) { observer_.proved(longest_run); }
  /// These numbers matter before the step `at`.
  void mark(std::size_t at, const std::array<u16, isa::max_call_frames>& regs, const FrameMasks& slots);
  void wrote_slot(u32 frame, u32 slot);
  /// `by_last`: by the last step of the path, whose own writes come after what it reads; else by what follows the path.
  void read_slot(u32 frame, u32 slot, bool by_last);

 private:
  struct Entry {
    Explored state;  ///< no frames: a step that is not an instruction of its own
    FrameMasks written{};
  };
  StateObserver& observer_;
  std::vector<Entry> entries_;
};

}  // namespace skep::verify
