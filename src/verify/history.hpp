// What a refused path did: the registers before each of its steps, how often each instruction was processed, and what
// kept states from being covered.
//
// Kept only while a refused program is gone over again to be explained. The exploration is depth-first, so the history
// is an undo log beside the path: each entry holds the registers that changed and what they held before; when the
// path shrinks to take up another branch, the entries behind it are undone.
#pragma once
#include <array>
#include <map>
#include <vector>

#include "verify/state.hpp"

namespace skep::verify {

class History {
 public:
  using Registers = std::array<Register, isa::register_count>;
  explicit History(std::size_t insn_count) : visits_(insn_count) {}

  /// The path has become `length` steps long, the last one an instruction about to be executed in `state`.
  void before(std::size_t length, u32 insn, const State& state);
  /// The path was cut to `length` steps.
  void shrink(std::size_t length);

  /// No more is recorded: lays out the registers of the last steps for at().
  void finish(std::size_t length);
  /// The registers of the frame that executed step `step`, before it. Null where they are not known.
  const Registers* at(std::size_t step) const;
  /// The call depth of that step.
  u32 depth(std::size_t step) const;

  const std::vector<u64>& visits() const { return visits_; }

  /// What differed when a state was not covered: register 0 to 10, or 16 + slot.
  struct Difference {
    u32 insn = 0, depth = 0, place = 0;
    friend auto operator<=>(const Difference&, const Difference&) = default;
  };
  void differs(const Difference& where) { differences_[where]++; }
  const std::map<Difference, u64>& differences() const { return differences_; }

 private:
  static constexpr std::size_t most_changes = 1u << 18, most_steps = 1u << 14;
  struct Change {
    u32 step = 0;
    u8 reg = 0;
    Register old;
  };
  bool overflowed_ = false;
  Registers now_{};              ///< before the last step
  std::vector<Change> changes_;  ///< by step, ascending
  std::vector<u8> depths_;       ///< by step
  std::vector<u64> visits_;      ///< by instruction
  std::size_t first_ = 0;        ///< the step of table_[0]
  std::vector<Registers> table_;
  std::map<Difference, u64> differences_;
};

}  // namespace skep::verify
