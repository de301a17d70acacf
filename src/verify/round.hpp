// What the instructions of a loop do to the numbers in registers and stack slots, whatever is known of numbers.
//
// Arithmetic says what that is: a Value (Value{}: nothing), and what becomes of it.
//   immediate(op, is_wide, dst, imm), registers(op, is_wide, dst, src): arithmetic of 64 or 32 bits, but for `mov`
//   low_half(value): in a register, of which the low 32 bits are left and the others cleared
//   stored_half(value): the low 32 bits in a slot, whatever the upper ones are
//   sign_extended(value): from the low 32 bits
//   read(bytes): an unsigned number of one to four bytes from wherever; where it says anything of such
#pragma once
#include "isa/semantics.hpp"
#include "verify/loop_body.hpp"

namespace skep::verify {

/// By slot: something else than the loop's plain accesses may change it, so that nothing is said of what it holds.
using TouchedSlots = std::array<bool, counter_slots>;

inline TouchedSlots touched_slots(const LoopBody& loop) {
  TouchedSlots touched{};
  for (u32 s = 0; s < counter_slots; s++) touched[s] = loop.is_touched(s);
  return touched;
}

template <class Arithmetic>
class Round {
 public:
  using Value = typename Arithmetic::Value;
  using Values = std::array<Value, counter_places>;

  Round(const LoopBody& loop, const TouchedSlots& touched, const Arithmetic& arithmetic)
      : loop_(loop), touched_(touched), arithmetic_(arithmetic) {}

  /// The instruction at `at`, jumps apart.
  void step(u32 at, Values& now) const {
    using isa::Form;
    const Insn& i = loop_.insn(at);
    const InsnFacts& facts = loop_.facts(at);
    const bool is_wide = facts.code_class == isa::class_alu64;
    switch (loop_.form(at)) {
      case Form::alu_imm:
        now[i.dst] = arithmetic_.immediate(isa::alu_of(facts.op), is_wide, now[i.dst], i.imm);
        return;
      case Form::alu_reg: {
        const isa::Alu op = isa::alu_of(facts.op);
        const Value given = of_register(i.src, now);
        now[i.dst] = op != isa::Alu::mov ? arithmetic_.registers(op, is_wide, now[i.dst], given)
                     : is_wide           ? given
                                         : arithmetic_.low_half(given);
        return;
      }
      case Form::movsx:
        now[i.dst] = i.off == 32 ? arithmetic_.sign_extended(of_register(i.src, now)) : Value{};
        return;
      case Form::load:
        now[i.dst] = loaded(i, now);
        return;
      case Form::store_imm:
      case Form::store_reg:
        return store(at, now);
      case Form::jump:
      case Form::jump_long:
      case Form::jump_imm:
      case Form::jump_reg:
      case Form::may_goto:
      case Form::exit:
        return;
      case Form::call_helper:
      case Form::call_local:
      case Form::call_kfunc:
      case Form::callx:
      case Form::ld_abs:
      case Form::ld_ind:
        for (u32 r = 0; r <= 5; r++) now[r] = {};
        return;
      case Form::alu_unary:
      case Form::addr_space_cast:
      case Form::endian:
      case Form::ld_imm64:
      case Form::load_acquire:
        now[i.dst] = {};
        return;
      case Form::atomic:
      case Form::atomic_fetch:
      case Form::cmpxchg:
      case Form::store_release:
        if (i.src < counter_registers) now[i.src] = {};
        now[0] = {};
        if (i.dst == isa::frame_pointer) forget_bytes(i.off, 8, now);
        return;
    }
  }

  /// r10 has no place: the one of its number is a slot's.
  static Value of_register(u32 reg, const Values& now) { return reg < counter_registers ? now[reg] : Value{}; }

 private:
  static bool is_sign_extending(const Insn& i) { return (i.code & 0xe0) == 0x80; }

  static constexpr u32 no_place = ~u32{0};
  static u32 slot_place(s32 off) {
    if (off >= 0 || off % 8 != 0 || off < -8 * static_cast<s32>(counter_slots)) return no_place;
    return counter_registers + static_cast<u32>(-off / 8 - 1);
  }

  static void forget_bytes(s32 off, u32 size, Values& now) {
    for (s32 at = off; at < off + static_cast<s32>(size); at++)
      if (at < 0 && at >= -8 * static_cast<s32>(counter_slots))
        now[counter_registers + static_cast<u32>(-at - 1) / 8] = {};
  }

  Value loaded(const Insn& i, const Values& now) const {
    const u32 size = isa::access_bytes(i);
    if (is_sign_extending(i)) return {};
    const u32 slot = i.src == isa::frame_pointer && size >= 4 ? slot_place(i.off) : no_place;
    if (slot == no_place || now[slot] == Value{}) return read(size);
    return size == 8 ? now[slot] : arithmetic_.low_half(now[slot]);
  }

  Value read(u32 size) const {
    if constexpr (requires { arithmetic_.read(size); }) {
      if (size <= 4) return arithmetic_.read(size);
    }
    return {};
  }

  void store(u32 at, Values& now) const {
    const Insn& i = loop_.insn(at);
    if (i.dst != isa::frame_pointer) return;  // touched_ knows of those
    const Value stored = loop_.form(at) == isa::Form::store_reg ? of_register(i.src, now) : Value{};
    const u32 size = isa::access_bytes(i);
    forget_bytes(i.off, size, now);
    const u32 slot = slot_place(i.off);
    if (slot == no_place || touched_[slot - counter_registers] || size < 4) return;
    now[slot] = size == 8 ? stored : arithmetic_.stored_half(stored);
  }

  const LoopBody& loop_;
  const TouchedSlots& touched_;
  const Arithmetic& arithmetic_;
};

}  // namespace skep::verify
