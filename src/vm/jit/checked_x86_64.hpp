// The x86-64 emitter of code with checks. Registers are the baseline JIT's (baseline_x86_64.hpp), except that r12 holds
// the run's Checks and rdi what is left of the budget; r10 and r11 are scratch.
//
// There are no functions here, only instructions: a call pushes the registers that must be kept and goes to the code
// that makes the frame, an exit is a ret. At every instruction rsp is 8 past a multiple of 16, as behind a call. Any
// program has such code, whatever jumps where.
#pragma once
#include "vm/jit/baseline_x86_64.hpp"
#include "vm/jit/checks.hpp"

namespace skep::vm::jit {

class CheckedX86 final : BaselineX86 {
 public:
  CheckedX86(const Bytecode& code, CheckedCode& out) : BaselineX86(code, {}), plan_(*out.plan), out_(out) {}
  Result<void> run();
  using BaselineX86::code;

 private:
  void write_enter();
  void write_service();
  void write_frame(u32 insn);
  void checked_instruction(u32 at);
  template <class Emitter>
  friend void write_instruction(Emitter&, const Bytecode&, u32);
  void pay(s32 price);
  void charge(u32 at);
  void execute(u32 at);
  x86::Label cold(Event::Kind kind, u32 insn, x86::Label resume);
  void write_cold();
  x86::Mem address(u32 at, u8 base) override;

  void alu(const Insn& insn, Operand b);
  void jump(u32 at, isa::Form form);
  void call(u32 at) { call_body(at, bytecode_.slots[at].helper); }
  void call_local(u32 at);
  void callx(u32 at);
  void tail_call(u32 at) { execute(at); }
  void exit() { as_.ret(); }
  void ld_packet(u32 at) { execute(at); }
  /// `callee` none: its address is in r10.
  void call_body(u32 at, HelperFn callee);
  const Bytecode::MapUse* map_of(u32 at) const;
  void look_up(u32 at);
  /// Pushes registers; an odd number of words, so that what is called finds rsp as it should be.
  void keep(u32 registers, bool budget, bool may_goto);
  void restore(u32 registers, bool budget, bool may_goto);

  const Plan& plan_;
  CheckedCode& out_;
  struct Cold {
    x86::Label label, resume;
  };
  std::vector<Cold> cold_;                    ///< parallel to CheckedCode::events
  std::vector<x86::Label> entries_, bodies_;  ///< by instruction: of a function with its frame; behind the charge
  x86::Label service_label_ = 0, leave_label_ = 0;
};

}  // namespace skep::vm::jit
