// The AArch64 emitter of code with checks. Registers are the baseline JIT's (baseline_arm64.hpp), except that x24 holds
// the run's Checks and x25 what is left of the budget.
//
// There are no functions here, only instructions: a call pushes the registers that must be kept and goes to the code
// that pushes the link register and makes the frame, an exit takes it back and returns. Any program has such code,
// whatever jumps where.
#pragma once
#include "vm/jit/baseline_arm64.hpp"
#include "vm/jit/checks.hpp"

namespace skep::vm::jit {

class CheckedArm64 final : BaselineArm64 {
 public:
  CheckedArm64(const Bytecode& code, CheckedCode& out) : BaselineArm64(code, {}), plan_(*out.plan), out_(out) {}
  Result<void> run();
  using BaselineArm64::code;

 private:
  void write();
  void note_offsets();
  void write_enter();
  void write_service();
  void write_frame(u32 insn);
  void checked_instruction(u32 at);
  template <class Emitter>
  friend void write_instruction(Emitter&, const Bytecode&, u32);
  using BaselineArm64::sum;
  void sum(Reg d, Reg a, s64 number);
  void pay(s32 price);
  void charge(u32 at);
  void execute(u32 at);
  Label cold(Event::Kind kind, u32 insn, Label resume);
  void write_cold();
  void ask(u32 at, u8 base);
  arm64::Mem address(u32 at, u8 base, Size size) override;
  Reg bare_address(u32 at, u8 base) override;

  void jump(u32 at, Form form);
  void call(u32 at) { call_body(at, bytecode_.slots[at].helper); }
  void call_local(u32 at);
  void callx(u32 at);
  void tail_call(u32 at) { execute(at); }
  void exit();
  void ld_packet(u32 at) { execute(at); }
  /// `callee` null: its address is in `place`.
  void call_body(u32 at, HelperFn callee);
  const Bytecode::MapUse* map_of(u32 at) const;
  void look_up(u32 at);
  void keep(u32 registers, bool timed_loop);
  void restore(u32 registers, bool timed_loop);
  void load_field(Reg reg, std::size_t offset);
  void store_field(Reg reg, std::size_t offset);
  std::vector<Reg> kept_registers(u32 registers) const;

  static constexpr Reg checks_reg = Reg::x24, budget_reg = Reg::x25;
  const Plan& plan_;
  CheckedCode& out_;
  struct Cold {
    Label label, resume;
  };
  std::vector<Cold> cold_;               ///< parallel to CheckedCode::events
  std::vector<Label> entries_, bodies_;  ///< by instruction: of a function with its frame; behind the charge
  Label enter_label_ = 0, unwind_label_ = 0, service_label_ = 0, leave_label_ = 0;
};

}  // namespace skep::vm::jit
