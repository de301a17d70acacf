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
  u32 value =
      0;  ///< of Explored::values, and one more: what bytes that are Byte::spilled (or special) are part of; or 0
};

struct ExploredFrame {
  u32 function = 0;                             ///< its first instruction
  u32 call_insn = 0;                            ///< the call that made it; meaningless in frame 0
  std::array<u32, isa::register_count> regs{};  ///< of Explored::values; those that are not live are anything
  u32 first_slot = 0, slot_count = 0;
  u16 live_regs = 0;     ///< may be read
  u16 precise_regs = 0;  ///< their numbers decided something
  u64 live_slots = 0, precise_slots = 0;
};

/// The abstract machine before one instruction of one path. Frame 0 is the function that is verified: the program, a
/// global function, a callback that runs later.
struct Explored {
  u32 insn = 0;
  std::span<const ExploredFrame> frames;
  std::span<const ExploredSlot> slots;  ///< of these frames and others
  std::span<const Register> values;

  /// A live one.
  const Register& reg(const ExploredFrame& f, u32 index) const { return values[f.regs[index]]; }
  std::span<const ExploredSlot> slots_of(const ExploredFrame& f) const {
    return slots.subspan(f.first_slot, f.slot_count);
  }
  /// nullptr: its bytes are part of nothing.
  const Register* held(const ExploredSlot& slot) const { return slot.value == 0 ? nullptr : &values[slot.value - 1]; }
};

class StateObserver {
 public:
  virtual ~StateObserver() = default;
  virtual void explored(const Explored& state) = 0;
  /// For another attempt at the proof. It counts when it `becomes` what was seen; else it is forgotten.
  virtual std::unique_ptr<StateObserver> attempt() const = 0;
  /// What was explored so far does not count: the proof is the one that `attempt` (made by attempt()) has seen.
  virtual void become(StateObserver& attempt) = 0;
  /// The program is accepted. A run of it executes so many instructions at most, without those of programs that it tail
  /// calls; none: they were not counted (longest_run.cpp).
  virtual void proved(std::optional<u64> longest_run) = 0;
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
    u32 insn = 0;
    u32 first_frame = 0, depth = 0;  ///< depth 0: a step that is not an instruction of its own
    u32 first_value = 0;
    FrameMasks written{};
  };
  std::span<ExploredFrame> frames_of(const Entry& e) { return {frames_.data() + e.first_frame, e.depth}; }
  u32 place_of(const Register& value, u32 likely);

  StateObserver& observer_;
  std::vector<Entry> entries_;
  std::vector<ExploredFrame> frames_;  ///< of all entries, like what they hold
  std::vector<ExploredSlot> slots_;
  std::vector<Register> values_;  ///< what a step leaves as it was is there once
};

}  // namespace skep::verify
