// Makes instructions of the intermediate form, in their simplest shape.
//
// Whoever builds or rewrites a function asks a Maker for "a + b at 32 bits" and gets a value: a new instruction at
// the end of the current block, or an older one that is already that number. All algebra of the optimiser stands
// here, once, as rules that look at an instruction and its operands; passes only decide what to ask for.
//
// Shapes that every rule may rely on: the constant is operand 1 of a commutative operation and of a comparison;
// x - c is x + -c; a mask of 8, 16 or 32 low bits is zext; constants used at 32 bits are sign-extended.
#pragma once
#include <array>

#include "vm/jit/dominators.hpp"
#include "vm/jit/ir.hpp"

namespace skep::vm::ir {

class Maker {
 public:
  explicit Maker(Function& f) : f_(f), leaves_(64, no_value) {}

  /// New instructions go to the end of this block.
  void enter(BlockId block) { block_ = block; }
  BlockId block() const { return block_; }
  Function& function() { return f_; }

  Value constant(u64 number) { return leaf(Op::constant, static_cast<s64>(number)); }
  /// The number as no pass sees it: for programs whose constants are not trusted.
  Value blinded(u64 number);
  Value frame(s64 offset) { return leaf(Op::frame, offset); }
  Value run() { return leaf(Op::run, 0); }
  /// Parameter `index` (1..5).
  Value parameter(u32 index) { return leaf(Op::parameter, index); }

  /// `op` of the table's arithmetic (add .. neg).
  Value arithmetic(Op op, u8 width, Value a, Value b);
  Value neg(u8 width, Value a);
  Value zext(u8 bits, Value a);
  Value sext(u8 width, u8 bits, Value a);
  Value bswap(u8 bits, Value a);
  Value mulh(Value a, Value b);
  /// popcount, leading_zeros
  Value count(Op op, u8 width, Value a);
  Value select(Condition c, u8 width, Value a, Value b, Value x, Value y);
  Value load(u8 bits, bool is_signed, Value base, s64 offset, u8 flags = 0);
  Value load_swapped(u8 bits, Value base, s64 offset, u8 flags = 0);
  void store(u8 bits, Value base, s64 offset, Value value, u8 flags = 0);
  void jump();
  /// The caller has put both successors in place; with a known outcome it becomes a jump and the index (0 or 1) of the
  /// successor that is left is returned, else 2.
  u32 branch(Condition c, u8 width, Value a, Value b);
  void ret(Value v);
  /// Any instruction with these operands, simplified when it is pure.
  Value remake(Inst inst, std::span<const Value> operands);

  /// A comparison in its simplest form; with `known` the outcome when it does not depend on anything.
  struct Comparison {
    Condition condition = Condition::eq;
    u8 width = 64;
    Value a = no_value, b = no_value;
    s8 known = -1;
  };
  Comparison comparison(Condition c, u8 width, Value a, Value b);

  /// How many low bits of the value may be other than zero.
  u32 significant_bits(Value v, u32 depth = 0) const;
  /// Cannot be 0.
  bool is_nonzero(Value v) const;

  /// The value with what only changes bits above `bits` taken off.
  Value low_part(Value v, u32 bits) const;
  bool is_empty_below(Value v, u32 bits) const;
  /// Puts leaves at the front of the entry block: they dominate everything. Once, at the end.
  void place_leaves();

  Value place(Inst inst, std::span<const Value> operands);
  /// From here on, what was computed before is found again (global value numbering). Blocks must be filled in reverse
  /// postorder of `dominators`, which must outlive the Maker.
  void number(const Dominators& dominators);

 private:
  Value leaf(Op op, s64 imm);
  Value find(const Inst& inst, std::span<const Value> operands, std::size_t& at) const;
  void grow_leaves();
  Value place2(Op op, u8 width, Value a, Value b);
  Value fold_constants(Op op, u8 width, Value a, Value b);
  Value add(u8 width, Value a, Value b);
  Value sub(u8 width, Value a, Value b);
  Value mul(u8 width, Value a, Value b);
  Value divide(Op op, u8 width, Value a, Value b);
  Value bitwise_and(u8 width, Value a, Value b);
  Value bitwise_or(Op op, u8 width, Value a, Value b);
  Value shift(Op op, u8 width, Value a, Value b);
  Value shift_of_shift(Op op, u8 width, Value a, u32 count);
  Value rotation(Op op, u8 width, Value a, Value b);
  Value whole(u8 width, Value v) { return width == 32 ? zext(32, v) : v; }
  bool is_op(Value v, Op op, u8 width) const { return f_.insns[v].op == op && f_.insns[v].width == width; }
  u64 number(Value v) const { return static_cast<u64>(f_.insns[v].imm); }
  Value operand(Value v, u32 index) const { return f_.operands[f_.insns[v].first + index]; }

  Function& f_;
  BlockId block_ = 0;
  std::vector<Value> leaves_;  ///< open-addressed table of constants, frame addresses, parameters, run
  std::vector<Value> placed_leaves_;
  const Dominators* dominators_ = nullptr;
  std::vector<Value> numbers_;  ///< hash table of placed pure instructions
};

}  // namespace skep::vm::ir
