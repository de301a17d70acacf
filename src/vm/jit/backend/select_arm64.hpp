// The selector of AArch64, shared by the files select_arm64*.cpp.
//
// Loads and stores are instructions of their own; what vanishes here are additions into addresses, shifts and
// extensions into the second operand of arithmetic, multiplications into additions, masks into bitfield moves and
// inversions into logic. Division needs no care: by zero the CPU gives 0 itself, and a - 0 * b is a.
// Source: Arm Architecture Reference Manual (DDI 0487), chapter C6; AAPCS64 (IHI 0055), section 6.
#pragma once
#include "vm/jit/backend/arm64_form.hpp"
#include "vm/jit/backend/select.hpp"

namespace skep::vm::backend {

class SelectArm64 final : public Selector {
 public:
  using Selector::Selector;

 private:
  using Alu = arm64::Alu;
  using Shift = arm64::Shift;
  using Modifier = arm64::Modifier;

  Ops ops() const override {
    return {static_cast<u8>(A::label), static_cast<u8>(A::jump), static_cast<u8>(A::constant),
            static_cast<u8>(A::frame)};
  }
  void prepare() override;
  void instruction(Value v, const ir::Inst& inst) override;

  Inst& begin(A op, u8 width = 64) { return Selector::begin(static_cast<u8>(op), width); }
  /// The constant as an instruction of this width sees it, sign-extended.
  s64 seen(Value v, u8 width) const { return width == 32 ? static_cast<s32>(imm(v)) : imm(v); }
  /// Only the instruction at hand uses it, and it is made no less often.
  bool is_here(Value v) const;
  /// A constant shift whose result only the instruction at hand uses.
  bool is_shift(Value v, ir::Op op, u8 width, u32& count) const;
  /// Another value inverted, for nobody else.
  bool is_inverted(Value v, u8 width) const;
  /// The zero register for 0.
  u8 use_or_zero(Value v, Use how = Use::early) { return is_constant(v) && imm(v) == 0 ? absent : use_value(v, how); }

  // --- select_arm64.cpp: arithmetic ---
  void pure(Value v, const ir::Inst& inst);
  void add(Value v, const ir::Inst& inst);
  void subtract(Value v, const ir::Inst& inst);
  bool multiply_add(Value v, const ir::Inst& inst, Value addend, Value product);
  void logic(Value v, const ir::Inst& inst, Alu op);
  bool logic_constant(Value v, const ir::Inst& inst, Alu op);
  bool join_shifts(Value v, const ir::Inst& inst);
  void sum(VReg def, Alu op, u8 width, Value a, Value b);
  void multiply(Value v, const ir::Inst& inst);
  void shift(Value v, const ir::Inst& inst, Shift op);
  bool bitfield(Value v, const ir::Inst& inst, Shift op, u32 count);
  void rotate(Value v, const ir::Inst& inst);
  void one(Value v, const ir::Inst& inst);
  void second_operand(Value b, u8 width, bool is_sum);
  bool can_change(Value b, u8 width, bool is_sum) const;

  // --- pieces of arithmetic over registers ---
  void add_constant(VReg def, u8 width, VReg a, s64 value);
  void alu_rr(VReg def, Alu op, u8 width, VReg a, VReg b, Modifier by = Modifier::lsl, u8 amount = 0);
  void shift_imm(VReg def, Shift op, u8 width, VReg a, u32 count);
  void field(A op, VReg def, u8 width, VReg a, u32 low, u32 length, bool sign);
  void three(A op, VReg def, u8 width, VReg a, VReg b, VReg x, bool sign = false);

  // --- select_arm64_memory.cpp: memory, atomics, calls, ends of blocks ---
  struct Address {
    VReg base = none, index = none;
    bool frame = false, scaled = false;
    Modifier by = Modifier::lsl;
    s64 disp = 0;
  };
  bool can_address(const ir::Inst& access, Value sum) const;
  bool index_of(Value sum, u8 place, u8 bits, Value& index, Modifier& by, bool& scaled) const;
  Address address(const ir::Inst& inst);
  Address address_of_sum(const ir::Inst& inst, Value sum);
  Address far(Address a, s64 disp, u8 bits);
  VReg bare_address(const ir::Inst& inst);
  void attach(const Address& a);
  void load(Value v, const ir::Inst& inst);
  void store(const ir::Inst& inst);
  void atomic(Value v, const ir::Inst& inst);
  void call(Value v, const ir::Inst& inst);
  void leave(const ir::Inst& inst);
  void switch_(const ir::Inst& inst);

  // --- select_arm64_compare.cpp ---
  void compare(const ir::Inst& inst);
  void compare_with(ir::Condition condition, u8 width, Value a, s64 c);
  void compare_values(ir::Condition condition, u8 width, Value a, Value b);
  void test_with(ir::Condition condition, u8 width, Value a, s64 mask);
  void select(Value v, const ir::Inst& inst);
  bool otherwise(Value y, arm64::Else& kind, Value& changed, bool& is_zero) const;

  // --- select_arm64_divide.cpp ---
  void divide(Value v, const ir::Inst& inst);
  bool divide_by_constant(Value v, const ir::Inst& inst, s64 divisor);
  void unsigned_quotient(VReg def, u8 width, VReg a, u64 divisor);
  void signed_quotient(VReg def, u8 width, VReg a, s64 divisor);

  std::vector<u8> address_only_;  // by value: sums that are needed for addresses alone and fit into them
  std::vector<u8> access_bits_;   // of those: what is accessed there; 0: different widths
};

}  // namespace skep::vm::backend
