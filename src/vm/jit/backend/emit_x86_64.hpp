// The emitter of x86-64, shared by the files emit_x86_64*.cpp.
//
// The frame lies at rsp: the function's own bytes first, spill slots behind them. A block on a split edge that has no
// moves is never written: jumps to it go where it leads. A function is written twice: the first time tells how far
// its jumps go, so that the second can use the short forms.
#pragma once
#include <vector>

#include "vm/jit/backend/backend.hpp"
#include "vm/jit/backend/moves.hpp"
#include "vm/jit/backend/x86_form.hpp"

namespace skep::vm::backend {

class EmitX86 final : private MoveSink {
 public:
  EmitX86(x86::Assembler& as, const Code& code, const Allocation& places, std::span<const x86::Label> functions,
          const Target& target);

  /// `near_ones`: of an earlier run of the same function: which forward jumps are short. Empty: none.
  void run(const std::vector<u8>& near_ones);
  /// After a run: which of its forward jumps can be short.
  std::vector<u8> near_jumps() const;

 private:
  using Reg = x86::Reg;
  using Width = x86::Width;
  using Cond = x86::Cond;

  // --- emit_x86_64.cpp: blocks, frame, moves ---
  void find_skipped();
  bool has_moves(u32 inst) const;
  u32 final_block(u32 b) const;
  u32 next_block() const;
  x86::Label label_of(u32 b) const { return labels_[final_block(b)]; }
  void align_loop();
  void prologue();
  void leave_frame();
  void jump_to(u32 b);
  void jump_if(Cond c, u32 b);
  bool note_jump(u32 b);
  void moves(Move::Phase phase);
  void fixed_operands(const Inst& inst);
  void move(Loc from, Loc to) override;
  void swap(Loc a, Loc b) override;
  void make(Loc from, Reg to);
  x86::Mem slot(Loc l, s32 pushed = 0) const;

  // --- emit_x86_64_ops.cpp: instructions ---
  void instruction(const Inst& inst);
  void arithmetic(const Inst& inst);
  void memory_access(const Inst& inst);
  void alu(const Inst& inst);
  void lea(const Inst& inst);
  void multiply(const Inst& inst);
  void multiply_high(const Inst& inst);
  void shift_imm(const Inst& inst);
  void shift(const Inst& inst);
  void swap_bytes(Reg d, u32 bits);
  void extend(const Inst& inst);
  void load(Reg d, const Inst& inst);
  void store(const Inst& inst);
  void divide(const Inst& inst);
  void fetch(const Inst& inst);
  void call(const Inst& inst);
  void cold_call(const Inst& inst);

  // --- emit_x86_64_compare.cpp: what sets and reads flags ---
  void branch(const Inst& inst);
  void switch_(const Inst& inst);
  void select(const Inst& inst);
  void set(const Inst& inst);
  Cond compare(const Inst& inst);
  bool flags_say(const Inst& inst, Cond& c) const;
  void test_imm(const Inst& inst);

  static Reg reg(Loc l) { return static_cast<Reg>(l.number()); }
  Reg r(const Inst& inst, u8 place) const { return reg(code_.loc(inst, place)); }
  Reg def(const Inst& inst) const { return reg(inst.def_loc); }
  bool in_slot(const Inst& inst, u8 place) const { return code_.loc(inst, place).kind() == Loc::slot; }
  VReg value(const Inst& inst, u8 place) const { return place == absent ? none : code_.operand(inst, place).vreg; }
  x86::Mem memory(const Inst& inst) const;
  void copy(Reg to, Reg from) {
    if (to != from) as_.mov(Width::w64, to, from);
  }
  /// An operand that may be in a slot, copied to a register.
  void fetch_to(Reg to, const Inst& inst, u8 place) {
    if (in_slot(inst, place))
      as_.mov(Width::w64, to, slot(code_.loc(inst, place)));
    else
      copy(to, r(inst, place));
  }
  void result(const Inst& inst, Reg from);
  u64 random() noexcept {  // xorshift64; the same numbers each time the function is written
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    return random_ ^= random_ << 17;
  }

  /// What the flags say at this point. A comparison: of these operands. A result: of `value` with 0.
  struct Flags {
    const Inst* comparison = nullptr;
    VReg value = none;
    u8 width = 64;
    bool no_overflow = false;  ///< carry and overflow are clear
  };
  void flags_of_result(const Inst& inst, bool no_overflow) { flags_ = {nullptr, inst.def, inst.width, no_overflow}; }

  struct Jump {
    u32 block;  ///< where it leads
    u32 at;     ///< offset behind it
    u32 line;   ///< position in the line where it stands
  };

  x86::Assembler& as_;
  const Code& code_;
  const Allocation& places_;
  std::span<const x86::Label> functions_;
  const Target& target_;
  std::vector<x86::Label> labels_;
  std::vector<bool> skipped_;
  std::vector<Pair> pairs_;
  std::vector<Jump> jumps_;
  const std::vector<u8>* near_ = nullptr;
  std::size_t next_move_ = 0;
  u32 block_ = 0, at_ = 0;
  u32 saved_ = 0, frame_ = 0, slots_at_ = 0;
  s32 below_ = 0;          ///< how far rsp is below the frame just now
  bool has_left_ = false;  ///< the call before this jumped: nothing reaches the `ret`
  Flags flags_;
  u64 random_;
};

constexpr x86::Width width_of(u32 bits) { return static_cast<x86::Width>(bits / 8); }

}  // namespace skep::vm::backend
