// What the emitters of every machine ask of a program alike: where functions begin, what they need, which of an
// emitter's functions an instruction goes to.
//
// An emitter gives one function for each kind of instruction; baseline code and code with checks of every machine are
// walked by this one switch, so a form that is new is missing nowhere.
#pragma once
#include <vector>

#include "isa/semantics.hpp"
#include "vm/bytecode.hpp"

namespace skep::vm::jit {

/// What a function's frame must have.
struct Needs {
  u16 registers = 0;   ///< by eBPF register: it occurs
  bool calls = false;  ///< helpers, functions; not may_goto
  bool may_goto = false;
  bool own_words = false;  ///< of the frame: tail calls, packet loads, may_goto
};

/// The first instructions of the program's functions, sorted.
std::vector<u32> function_starts(const Bytecode& bytecode);
Needs needs_of(const Bytecode& bytecode, u32 begin, u32 end);
/// Where instruction `at`, a jump of a function from `begin` to `end`, goes. Errors: unsupported, into another
/// function.
Result<u32> target_within(const Bytecode& bytecode, u32 at, u32 begin, u32 end);
/// Whether control can leave a function at its end; nothing verified does.
bool runs_off(const Bytecode& bytecode, u32 end) noexcept;

/// Writes instruction `i` by the function of `to` for its form.
template <class Emitter>
void write_instruction(Emitter& to, const Bytecode& bytecode, u32 i) {
  using isa::Form;
  const Insn& insn = bytecode.insns[i];
  const Form form = isa::row(bytecode.ops[i]).form;
  switch (form) {
    case Form::alu_imm:
    case Form::alu_unary:
      return to.alu(insn, to.number(insn.imm));
    case Form::alu_reg:
      return to.alu(insn, to.in(insn.src));
    case Form::movsx:
      return to.movsx(insn);
    case Form::addr_space_cast:
      return to.address_space_cast(insn);
    case Form::endian:
      return to.endian(insn);
    case Form::jump:
    case Form::jump_long:
    case Form::may_goto:
    case Form::jump_imm:
    case Form::jump_reg:
      return to.jump(i, form);
    case Form::call_helper:
      if (insn.imm == isa::helper_tail_call && bytecode.tail_target != nullptr) return to.tail_call(i);
      return to.call(i);
    case Form::call_kfunc:
      if (const auto* hidden = bytecode.hidden_at(i)) to.load_number(to.host(hidden->reg), hidden->value);
      return to.call(i);
    case Form::call_local:
      return to.call_local(i);
    case Form::callx:
      return to.callx(i);
    case Form::exit:
      return to.exit();
    case Form::load:
    case Form::load_acquire:
      return to.load(i);
    case Form::store_imm:
      return to.store_imm(i);
    case Form::store_reg:
    case Form::store_release:
      return to.store_reg(i);
    case Form::atomic:
      return to.atomic(i, false);
    case Form::atomic_fetch:
      return to.atomic(i, true);
    case Form::cmpxchg:
      return to.compare_exchange(i);
    case Form::ld_imm64:
      return to.load_number(to.host(insn.dst), bytecode.slots[i + 1].wide);
    case Form::ld_abs:
    case Form::ld_ind:
      return to.ld_packet(i);
  }
}

}  // namespace skep::vm::jit
