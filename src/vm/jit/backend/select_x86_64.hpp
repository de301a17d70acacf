// The selector of x86-64, shared by the files select_x86_64*.cpp.
//
// Whatever the CPU wants in a particular register is a fixed operand, and every other operand of such an instruction
// is read late, so that the moves into fixed registers cannot destroy it.
// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2; System V ABI AMD64, section 3.2.
#pragma once
#include "vm/jit/backend/select.hpp"
#include "vm/jit/backend/x86_form.hpp"

namespace skep::vm::backend {

class SelectX86 final : public Selector {
 public:
  using Selector::Selector;

 private:
  Ops ops() const override {
    return {static_cast<u8>(X::label), static_cast<u8>(X::jump), static_cast<u8>(X::constant),
            static_cast<u8>(X::frame)};
  }
  void instruction(Value v, const ir::Inst& inst) override;

  Inst& begin(X op, u8 width = 64) { return Selector::begin(static_cast<u8>(op), width); }
  /// The constant as an instruction of this width sees it; false when it does not fit in a 32-bit immediate.
  bool immediate(Value v, u8 width, s64& out) const {
    if (!is_constant(v)) return false;
    out = width == 32 ? static_cast<s32>(imm(v)) : imm(v);
    return x86::fits_s32(out);
  }

  // --- select_x86_64.cpp: arithmetic ---
  void pure(Value v, const ir::Inst& inst);
  void add(Value v, const ir::Inst& inst);
  void subtract(Value v, const ir::Inst& inst);
  void logic(Value v, const ir::Inst& inst, x86::Alu op);
  bool and_constant(Value v, const ir::Inst& inst);
  void commutative(VReg def, X op, x86::Alu sub, const ir::Inst& inst);
  void multiply(Value v, const ir::Inst& inst);
  void multiply_high(Value v, const ir::Inst& inst) {
    product_high(register_of(v), register_of(operand(inst, 0)), register_of(operand(inst, 1)), false);
  }
  void shift(Value v, const ir::Inst& inst, x86::Shift op);
  void rotate(Value v, const ir::Inst& inst);
  void one(Value v, const ir::Inst& inst);

  // --- pieces of arithmetic over registers ---
  void alu_imm(VReg def, x86::Alu op, u8 width, VReg a, s64 value);
  void alu_rr(VReg def, x86::Alu op, u8 width, VReg a, VReg b);
  void shift_imm(VReg def, x86::Shift op, u8 width, VReg a, s64 count);
  void multiply_imm(VReg def, u8 width, VReg a, s64 value);
  void extend(VReg def, u8 width, VReg a, u8 bits, bool sign);

  // --- select_x86_64_memory.cpp: memory, atomics, calls, ends of blocks ---
  void address(const ir::Inst& inst, Use how);
  void address_of_load(Value v, Use how);
  void load(Value v, const ir::Inst& inst);
  void store(const ir::Inst& inst);
  bool store_in_place(const ir::Inst& inst);
  void atomic(Value v, const ir::Inst& inst);
  void fetch(Value v, const ir::Inst& inst, x86::Alu op);
  void call(Value v, const ir::Inst& inst);
  void leave(const ir::Inst& inst);
  void switch_(const ir::Inst& inst);

  // --- select_x86_64_compare.cpp ---
  void compare(const ir::Inst& inst);
  void compare_with(ir::Condition condition, u8 width, Value a, s64 c);
  void compare_memory(ir::Condition condition, Value load, s64 c);
  bool memory_holds(ir::Condition& condition, u8 width, Value load, s64& c) const;
  void test_with(ir::Condition condition, u8 width, Value a, s64 c);
  void compare_values(ir::Condition condition, u8 width, Value a, Value b);
  void select(Value v, const ir::Inst& inst);

  // --- select_x86_64_divide.cpp ---
  void divide(Value v, const ir::Inst& inst);
  bool divide_by_constant(Value v, const ir::Inst& inst, s64 divisor);
  void unsigned_quotient(VReg def, u8 width, Value a, u64 divisor);
  void signed_quotient(VReg def, u8 width, VReg a, s64 divisor);
  void remainder(VReg def, u8 width, VReg a, VReg quotient, s64 divisor);
  void multiply_by(VReg def, VReg a, s64 factor);
  void product_high(VReg def, VReg a, VReg b, bool sign);
};

}  // namespace skep::vm::backend
