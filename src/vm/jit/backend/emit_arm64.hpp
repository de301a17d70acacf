// The emitter of AArch64, shared by emit_arm64.cpp and emit_arm64_ops.cpp.
//
// The frame lies at sp: the function's own bytes first, spill slots behind them, then the callee-saved registers, with
// the frame record (x29, x30) in front of them in functions that call. A block on a split edge that has no moves is
// never written. Conditional jumps are written in their short forms; a function that is too large for those is written
// again with each of them around an unconditional one. x16 and x17 are free at every instruction.
#pragma once
#include <vector>

#include "vm/jit/backend/arm64_form.hpp"
#include "vm/jit/backend/backend.hpp"
#include "vm/jit/backend/moves.hpp"

namespace skep::vm::backend {

class EmitArm64 final : private MoveSink {
 public:
  using Reach = arm64::Assembler::Reach;
  EmitArm64(arm64::Assembler& as, const Code& code, const Allocation& places, std::span<const arm64::Label> functions,
            const Target& target, Reach far)
      : as_(as),
        code_(code),
        places_(places),
        functions_(functions),
        target_(target),
        far_(far),
        random_(target.blinding_seed) {}
  void run();

  /// The frame that loads and stores of slots can reach; see slot().
  static constexpr u32 most_frame_bytes = 32760;

 private:
  using Reg = arm64::Reg;
  using Width = arm64::Width;
  using Cond = arm64::Cond;

  // --- emit_arm64.cpp: blocks, frame, moves ---
  void find_skipped();
  bool has_moves(u32 inst) const;
  u32 final_block(u32 b) const;
  u32 next_block() const;
  arm64::Label label_of(u32 b) const { return labels_[final_block(b)]; }
  void prologue();
  void leave_frame();
  void move_stack(arm64::Alu op, u32 bytes);
  void jump_to(u32 b);
  void moves(Move::Phase phase);
  void fixed_operands(const Inst& inst);
  void move(Loc from, Loc to) override;
  void swap(Loc a, Loc b) override;
  void make(Loc from, Reg to);
  arm64::Mem slot(Loc l) const { return arm64::at(Reg::sp, slots_at_ + l.number() * 8); }

  // --- emit_arm64_ops.cpp: instructions ---
  void instruction(const Inst& inst);
  void arithmetic(const Inst& inst);
  void alu(const Inst& inst);
  void memory_access(const Inst& inst);
  void swap_bytes(Reg d, Reg a, u32 bits);
  void atomic(const Inst& inst);
  void atomic_loop(const Inst& inst);
  void exchange(const Inst& inst);
  void compare_exchange(const Inst& inst);
  void call(const Inst& inst);
  Cond compare(const Inst& inst);
  void branch(const Inst& inst);
  /// Jumps to b when `inst` holds (or does not).
  void jump_if(const Inst& inst, bool holds, u32 b);
  void switch_(const Inst& inst);

  u64 random() noexcept {  // xorshift64; the same numbers each time the function is written
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    return random_ ^= random_ << 17;
  }
  static Reg reg(Loc l) { return static_cast<Reg>(l.number()); }
  Reg r(const Inst& inst, u8 place) const { return place == absent ? Reg::zr : reg(code_.loc(inst, place)); }
  Reg def(const Inst& inst) const { return reg(inst.def_loc); }
  arm64::Mem memory(const Inst& inst) const;

  arm64::Assembler& as_;
  const Code& code_;
  const Allocation& places_;
  std::span<const arm64::Label> functions_;
  const Target& target_;
  const Reach far_;
  u64 random_;
  std::vector<arm64::Label> labels_;
  std::vector<bool> skipped_;
  std::vector<Pair> pairs_;
  std::vector<Reg> saved_;  // pushed in pairs; zr fills the last
  std::size_t next_move_ = 0;
  u32 block_ = 0, at_ = 0;
  u32 frame_ = 0, slots_at_ = 0;
  bool has_left_ = false;  ///< the call before this jumped: nothing reaches the `ret`
};

}  // namespace skep::vm::backend
