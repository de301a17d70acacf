// The x86-64 emitter of the baseline JIT, as one class over three files: baseline_x86_64.cpp walks the program and
// does control flow and calls, baseline_x86_64_alu.cpp arithmetic, baseline_x86_64_memory.cpp loads, stores, atomics.
//
//   r0 rax   r1 rsi   r2 rdx   r3 rcx   r4 r8   r5 r9   r6 rbx   r7 r13   r8 r14   r9 r15   r10 rbp
//
// r1..r5 stand where the C ABI wants the second to sixth argument; the first, the run, waits in r12 in functions that
// call. r10, r11 and rdi are scratch. A frame, from high addresses to low: return address, saved registers, the eBPF
// stack (rbp at its end, a multiple of 16), two words of our own at rsp. Functions that need none of it have none.
#pragma once
#include <array>

#include "isa/semantics.hpp"
#include "vm/bytecode.hpp"
#include "vm/jit/baseline.hpp"
#include "vm/jit/baseline_walk.hpp"
#include "vm/jit/x86_64.hpp"

namespace skep::vm::jit {

class BaselineX86 {
 public:
  using Reg = x86::Reg;
  using Width = x86::Width;
  using Form = isa::Form;

  BaselineX86(const Bytecode& code, const BaselineOptions& options);

  Result<void> run();
  std::span<const u8> code() const { return as_.code(); }
  /// Where the function that begins at `insn` begins in the code.
  u32 offset_of(u32 insn) const { return as_.offset_of(insn); }

 protected:  // for code with checks (checked_x86_64.hpp), which shares what is not control flow
  /// The registers a prologue saves, in order, and the bytes below them.
  struct Frame {
    std::array<Reg, 6> saved{};
    u32 saved_count = 0;
    u32 bytes = 0;      ///< subtracted from rsp
    u32 stack_end = 0;  ///< rbp - rsp
  };
  /// A second operand: a register, or a number.
  struct Operand {
    Reg reg = Reg::none;
    s32 imm = 0;
    bool is_reg() const { return reg != Reg::none; }
  };

  static constexpr Reg host(u8 bpf) {
    constexpr Reg map[16] = {Reg::rax, Reg::rsi, Reg::rdx, Reg::rcx, Reg::r8,  Reg::r9,  Reg::rbx, Reg::r13,
                             Reg::r14, Reg::r15, Reg::rbp, Reg::r11, Reg::r11, Reg::r11, Reg::r11, Reg::r11};
    return map[bpf];
  }
  static constexpr Reg run_reg = Reg::r12;
  static constexpr Reg scratch1 = Reg::r10, scratch2 = Reg::r11, scratch3 = Reg::rdi;

  // --- the walk ---
  Result<void> function(u32 begin, u32 end);
  template <class Emitter>
  friend void write_instruction(Emitter&, const Bytecode&, u32);
  void prologue(const Needs& needs);
  void clear_stack();
  void epilogue(bool returns);
  void trap();

  // --- control ---
  void jump(u32 at, isa::Form form);
  void jump_to(u32 at, isa::Form form, x86::Label target);
  void conditional(const Insn& insn, Operand b, x86::Label target);
  void may_goto(x86::Label target);
  void call(u32 at);
  void call_local(u32 at);
  void callx(u32 at);
  void tail_call(u32 at);
  void exit() { epilogue(true); }
  void ld_packet(u32 at);
  void after_call(bool may_throw);
  void thrown();

  // --- arithmetic ---
  Operand number(s32 imm);
  static Operand in(u8 bpf) { return {.reg = host(bpf)}; }
  void load_number(Reg reg, u64 value);
  void alu(const Insn& insn, Operand b);
  void shift(x86::Shift op, Width w, Reg dst, Operand count);
  void divide(Width w, Reg dst, Operand by, bool is_signed, bool wants_remainder);
  void divide_by_constant(Width w, Reg dst, s32 by, bool is_signed, bool wants_remainder);
  void divide_instruction(Width w, Reg dst, Reg by, bool is_signed, bool wants_remainder);
  void movsx(const Insn& insn);
  void endian(const Insn& insn);
  void address_space_cast(const Insn& insn);

  // --- memory ---
  virtual x86::Mem address(u32 at, u8 base);
  void load(u32 at);
  void store_imm(u32 at);
  void store_reg(u32 at);
  void atomic(u32 at, bool fetch);
  void atomic_loop(Width w, const x86::Mem& where, Reg src, x86::Alu op);
  void compare_exchange(u32 at);

  static Width alu_width(const Insn& insn) {
    return (insn.code & 7) == isa::class_alu64 || (insn.code & 7) == isa::class_jmp ? Width::w64 : Width::w32;
  }
  static Width access_width(const Insn& insn) {
    constexpr Width widths[] = {Width::w32, Width::w16, Width::w8, Width::w64};
    return widths[insn.code >> 3 & 3];
  }
  u64 random() noexcept;

  const Bytecode& bytecode_;
  const bool bmi2_;
  u64 random_;  ///< 0: constants stay as they are
  x86::Assembler as_;
  std::vector<u32> starts_;  ///< first instructions of functions, sorted
  Frame frame_;
  u32 begin_ = 0, end_ = 0;  ///< of the function at hand
  x86::Label body_label_ = 0, throw_label_ = 0, trap_label_ = 0;
  bool throw_used_ = false, trap_used_ = false;
  Result<void> stray_;  ///< a jump into another function
};

}  // namespace skep::vm::jit
