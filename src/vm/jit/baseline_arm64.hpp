// The AArch64 emitter of the baseline JIT, as one class over two files: baseline_arm64.cpp walks the program and does
// control flow and calls, baseline_arm64_ops.cpp arithmetic, loads, stores and atomics.
//
//   r0 x7   r1 to r5 x1 to x5   r6 to r9 x19 to x22   r10 x23
//
// r1..r5 stand where the C ABI wants the second to sixth argument; the first, the run, waits in x24 in functions that
// call. x9 to x11, x16 and x17 are scratch. A frame, from high addresses to low: saved registers in pairs, the eBPF
// stack (x23 at its end), two words of our own at sp, all multiples of 16. Functions that need none of it have none.
//
// Conditional jumps reach 1 MiB. A function in which that is too little is written again, with each of them around an
// unconditional one (128 MiB).
// Source: RFC 9669; Arm Architecture Reference Manual (DDI 0487), chapter C6; AAPCS64 (IHI 0055), section 6.
#pragma once
#include <array>

#include "isa/semantics.hpp"
#include "vm/bytecode.hpp"
#include "vm/jit/arm64.hpp"
#include "vm/jit/baseline.hpp"
#include "vm/jit/baseline_walk.hpp"

namespace skep::vm::jit {

class BaselineArm64 {
 public:
  BaselineArm64(const Bytecode& code, const BaselineOptions& options)
      : bytecode_(code), lse_(arm64::cpu_features().lse), random_(options.blinding_seed) {}

  /// Errors: unsupported (a jump from one function into another), limit (a jump that is too far).
  Result<void> run();
  std::vector<u8> code() const;
  /// Where the function that begins at `insn` begins in the code.
  u32 offset_of(u32 insn) const { return as_.offset_of(insn); }

 protected:  // for code with checks (checked_arm64.hpp), which shares what is not control flow
  using Reg = arm64::Reg;
  using Width = arm64::Width;
  using Size = arm64::Size;
  using Label = arm64::Label;
  using Form = isa::Form;
  using Reach = arm64::Assembler::Reach;

  /// The registers a prologue saves, in pairs, and the bytes below them.
  struct Frame {
    std::array<Reg, 8> saved{};
    u32 saved_count = 0;
    u32 bytes = 0;
  };
  /// A second operand: a register, or a number.
  struct Operand {
    bool is_reg = false;
    Reg reg = Reg::zr;
    s32 imm = 0;
  };

  static constexpr Reg host(u8 bpf) {
    constexpr Reg map[16] = {Reg::x7,  Reg::x1,  Reg::x2,  Reg::x3,  Reg::x4,  Reg::x5,  Reg::x19, Reg::x20,
                             Reg::x21, Reg::x22, Reg::x23, Reg::x17, Reg::x17, Reg::x17, Reg::x17, Reg::x17};
    return map[bpf];
  }
  static constexpr Reg result_reg = Reg::x7, run_reg = Reg::x24;
  /// `place` holds addresses, `value` numbers; both may be in use at once.
  static constexpr Reg place = Reg::x16, value = Reg::x17, spare1 = Reg::x9, spare2 = Reg::x10, status = Reg::x11;

  // --- the walk ---
  Result<void> function(u32 begin, u32 end);
  Result<void> write_function(const Needs& needs);
  template <class Emitter>
  friend void write_instruction(Emitter&, const Bytecode&, u32);
  void prologue(const Needs& needs);
  void clear_stack();
  void epilogue();
  void leave(u64 result);
  void trap();

  // --- control ---
  void jump(u32 at, Form form);
  void conditional(const Insn& insn, Operand b, Label target);
  /// b.cond, cbz or cbnz that may have to go around.
  void branch(arm64::Cond c, Label target);
  void branch_if_zero(bool zero, Width w, Reg reg, Label target);
  void may_goto(Label target);
  void call(u32 at);
  void call_local(u32 at);
  void callx(u32 at);
  void call_place(bool may_throw);
  void tail_call(u32 at);
  void exit();
  void ld_packet(u32 at);
  void after_call(bool may_throw);
  void thrown();

  // --- arithmetic ---
  Operand number(s32 imm);
  static Operand in(u8 bpf) { return {.is_reg = true, .reg = host(bpf)}; }
  void load_number(Reg reg, u64 number);
  /// The operand in a register: its own, or `value`.
  Reg in_register(Operand operand, Width w);
  void alu(const Insn& insn, Operand b);
  void sum(bool minus, Width w, Reg dst, Operand b);
  void logic(arm64::Alu op, Width w, Reg dst, Operand b);
  void shift(arm64::Shift op, Width w, Reg dst, Operand count);
  void divide(Width w, Reg dst, Operand by, bool is_signed, bool wants_remainder);
  void compare(Width w, Reg a, Operand b);
  void movsx(const Insn& insn) {
    as_.extract(true, alu_width(insn), host(insn.dst), host(insn.src), 0, static_cast<u32>(insn.off));
  }
  void endian(const Insn& insn);
  void address_space_cast(const Insn& insn);

  // --- memory ---
  virtual arm64::Mem address(u32 at, u8 base, Size size);
  virtual Reg bare_address(u32 at, u8 base);
  void load(u32 at);
  void store(u32 at, Operand what);
  void store_imm(u32 at) { store(at, number(bytecode_.insns[at].imm)); }
  void store_reg(u32 at) { store(at, in(bytecode_.insns[at].src)); }
  void atomic(u32 at, bool fetch);
  void atomic_loop(Size size, arm64::Alu op, Reg src, Reg where, bool fetch);
  void exchange(Size size, Reg src, Reg where);
  void compare_exchange(u32 at);

  static Width alu_width(const Insn& insn) {
    return (insn.code & 7) == isa::class_alu64 || (insn.code & 7) == isa::class_jmp ? Width::w64 : Width::w32;
  }
  static Size access_size(const Insn& insn) {
    constexpr Size sizes[] = {Size::b32, Size::b16, Size::b8, Size::b64};
    return sizes[insn.code >> 3 & 3];
  }
  static Width width_of(Size size) { return size == Size::b64 ? Width::w64 : Width::w32; }
  u64 random() noexcept {  // xorshift64
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    return random_ ^= random_ << 17;
  }

  const Bytecode& bytecode_;
  const bool lse_;
  u64 random_;  ///< 0: constants stay as they are
  arm64::Assembler as_;
  std::vector<u32> starts_;  ///< first instructions of functions, sorted
  Frame frame_;
  u32 begin_ = 0, end_ = 0;  ///< of the function at hand
  s32 stack_end_ = 0;        ///< r10 - sp
  bool is_far_ = false;      ///< conditional jumps go around
  Label body_label_ = 0, throw_label_ = 0, trap_label_ = 0;
  bool throw_used_ = false, trap_used_ = false;
  Result<void> stray_;  ///< a jump into another function
};

}  // namespace skep::vm::jit
