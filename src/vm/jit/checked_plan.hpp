// What code with checks need not ask, found before the code is made; the same for every machine.
//
// A block is a run of instructions that begins where something jumps or where a call returned, and ends with the first
// jump, call or exit. Inside of one nothing but its own instructions happens, and that is what every elision rests on:
//
//   budget     is looked at where a function, a loop or what follows a call begins: there must be enough for the
//              longest way to the next such place. When there is not, the service (checked_service.cpp) runs what can
//              still be paid for, instruction by instruction. In between it is only paid, for as many blocks at once as
//              can be: a block that several ways lead to was paid for on all of them.
//   memory     registers are followed as symbol + number: a move copies, adding a constant moves the number, all else
//              makes a new symbol. r10 + number inside the frame needs no question: nothing writes r10. Of all other
//              symbols the bytes that the block touches are asked for once, at the first touch, as one span; what is
//              inside of it lies in one region, so no later touch can fail. A span that does not fit one region is no
//              fault by itself: the service runs the rest of the block with a question for each access.
//              An access that was made stays allowed until the next call, along a path that nothing joins.
//   frames     are cleared from the lowest byte their function touches by r10 or gives away. What lies below is
//              cleared when a pointer that was not followed reaches the stack at all (Checks::grant_stack).
//   registers  r1 to r5 are kept over a call of a helper where they are read before they are written; r6 to r9 over a
//              call of a function where they are read afterwards and something it may run writes them.
#pragma once
#include "vm/bytecode.hpp"

namespace skep::vm::jit {

/// How many windows (checks.hpp) reads have, and as many writes.
inline constexpr u32 window_count = 16;

/// What an access asks before it is made.
struct Question {
  enum Kind : u8 { nothing, access, span };
  Kind kind = nothing;
  bool write = false;
  bool alignment = false;  ///< the address must be a multiple of the size
  u8 window = 0;           ///< index, writes behind reads
  s32 from = 0;            ///< first byte, from the base register
  u32 bytes = 0;
};

class Plan {
 public:
  explicit Plan(const Bytecode& code);

  /// A block begins here.
  bool leads(u32 insn) const { return (marks_[insn] & leader) != 0; }
  /// A call goes here: behind the code that makes the frame.
  bool is_called(u32 insn) const { return (marks_[insn] & called) != 0; }
  /// The last instruction of its block is made by the machine or by the service, never by stepping.
  bool ends_block(u32 insn) const { return (marks_[insn] & last) != 0; }
  /// Here enough must be left for the longest way to the next such place, in instructions.
  bool looks_at_budget(u32 insn) const { return (marks_[insn] & looks) != 0; }
  u32 longest_way(u32 insn) const { return longest_[insn]; }
  /// What is paid where a block begins, and what when a conditional jump is not taken; negative: given back.
  s32 price(u32 insn) const { return prices_[insn]; }
  s32 edge_price(u32 jump) const;
  const Question& question(u32 insn) const { return questions_[insn]; }
  /// Bytes at the end of the frame of the function that begins here which it may touch by r10; 0 to 512.
  u32 touched(u32 insn) const { return touched_of_[insn]; }
  /// Registers, as bits, that a call must keep. Of a helper: among r1 to r5; of a function: among r6 to r9.
  u32 kept(u32 insn) const { return kept_[insn]; }
  bool has_may_goto() const { return has_may_goto_; }
  /// The window of what a call of a map look-up returns; writes: + window_count.
  u8 window_of_call(u32 insn) const { return call_windows_[insn]; }
  /// The map whose elements the call at `insn` looks up, where it is a constant; else null.
  const Bytecode::MapUse* map_of_call(u32 insn) const { return call_maps_[insn]; }
  /// Windows that the code asks, as bits.
  u32 windows() const { return windows_; }

 private:
  enum Mark : u8 { leader = 1, called = 2, last = 4, joined = 8, looks = 16 };
  static constexpr u16 all_registers = 0x3ff, arguments = 0x3e, callee_kept = 0x3c0;

  void mark();
  void measure_ways();
  void set_prices();
  s64 target_of(u32 jump) const {
    return static_cast<s64>(jump) + 1 + isa::jump_distance(isa::row(code_.ops[jump]).form, code_.insns[jump]);
  }
  std::vector<u32> in_order() const;
  void follow();
  void find_live();
  bool spread_live(u16 at_exit);
  u16 live_before(u32 insn, u16 after) const;
  u16 live_behind(u32 insn) const;
  void find_written();
  std::size_t region_of(u32 insn) const;

  const Bytecode& code_;
  std::vector<u8> marks_;
  std::vector<Question> questions_;
  std::vector<u16> kept_, live_in_;
  std::vector<u32> longest_, paid_;  ///< by the first instruction of a block; the second: before it begins
  std::vector<s32> prices_;
  std::vector<u8> call_windows_;
  std::vector<const Bytecode::MapUse*> call_maps_;
  std::vector<u32> starts_;  ///< of regions: what calls and callbacks go to, sorted
  std::vector<u32> touched_;
  std::vector<u16> touched_of_;  ///< the same, by the first instruction
  std::vector<u16> written_;     ///< by region: r6 to r9
  bool is_tangled_ = false;      ///< a region runs or jumps into another one
  bool has_may_goto_ = false;
  u16 exit_live_ = 1;
  u32 windows_ = 0;

  friend class Follower;
};

/// Whether the instruction writes r10, which ends the run.
bool writes_frame_pointer(const Bytecode& code, u32 insn);
/// Whether the machine code of the instruction ends where the next one's begins, as that of a jump to there does.
bool runs_on(const Bytecode& code, u32 insn);
/// Whether it is an access to the arena, where nothing is asked: the service makes it.
bool reaches_arena(const Bytecode& code, u32 insn);

}  // namespace skep::vm::jit
