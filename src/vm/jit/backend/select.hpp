// What the selectors of all CPUs have in common: the walk over the blocks, virtual registers, constants.
//
// Blocks are read from the end of the line to its start and each from its last instruction to its first, so that a
// user is seen before what it uses and can take it into itself (fold): a load into an arithmetic instruction, a
// multiplication into an addition. What was taken by its only user is not made any more.
//
// A constant that some instruction wants in a register is made once, outside of all loops, where it dominates its
// users; the allocator may make it again instead of keeping it.
#pragma once
#include <vector>

#include "vm/jit/backend/backend.hpp"
#include "vm/jit/backend/machine.hpp"
#include "vm/jit/backend/shapes.hpp"

namespace skep::vm::backend {

class Selector {
 public:
  Selector(const ir::Function& f, const Target& target, Code& code)
      : f_(f), target_(target), code_(code), facts_(f, code) {}
  virtual ~Selector() = default;
  void run(bool scaled_addresses);

 protected:
  using Value = ir::Value;

  /// The CPU's codes for what the walk itself makes.
  struct Ops {
    u8 label, jump, constant, frame;
  };
  virtual Ops ops() const = 0;
  /// Called once, when the facts are known and nothing is made yet.
  virtual void prepare() {}
  /// Makes the machine instructions of one value, in order.
  virtual void instruction(Value v, const ir::Inst& inst) = 0;

  // --- the instruction being made ---
  Inst& begin(u8 op, u8 width = 64);
  Inst& last() { return made_.back(); }
  /// Appends an operand of the last instruction; returns its place.
  u8 use(VReg v, Use how = Use::early, u8 fixed = 0);
  u8 use_value(Value v, Use how = Use::early, u8 fixed = 0) { return use(register_of(v), how, fixed); }
  Inst& define(VReg v, Def kind = Def::late, u8 fixed = 0);

  // --- values ---
  VReg register_of(Value v);
  VReg constant(s64 imm) { return remat(Remat::constant, imm); }
  VReg remat(Remat kind, s64 imm);
  VReg temporary() { return code_.new_register(); }
  VReg run_register();
  Value root(Value v) const { return facts_.root(v); }
  const ir::Inst& source(Value v) const { return f_.insns[facts_.root(v)]; }
  Value operand(const ir::Inst& inst, u32 i) const { return facts_.root(f_.operands[inst.first + i]); }
  bool is_constant(Value v) const { return source(v).op == ir::Op::constant; }
  s64 imm(Value v) const { return source(v).imm; }
  /// Only the instruction at hand uses it, and no other took it.
  bool only_here(Value v) const { return facts_.uses(v) == 1 && !facts_.folded(v); }
  /// A load in this block that nobody else reads, with no write between it and the instruction at hand.
  bool can_take_load(Value v) const;
  void take(Value v) { facts_.fold(v); }
  /// The function returns this call's result, and nothing stands between.
  bool is_last(Value v, const ir::Inst& call) const;
  /// What has the same low `bits` as v, as far as extensions can be left out.
  Value low_bits(Value v, u8 bits);

  const ir::Function& f_;
  const Target& target_;
  Code& code_;
  Facts facts_;
  u32 block_ = 0;
  Value at_ = 0;

 private:
  struct Made {
    VReg vreg = none;
    u32 block = none;  ///< where to make it; none: nothing wants it in a register
    u32 mark = none;   ///< of its earliest user in reversed_, when that is in `block`; none: at the block's end
  };

  void read_block(u32 b);
  void make_phis(u32 b);
  void wanted(VReg v);
  void find_dominators();
  u32 common_dominator(u32 a, u32 b) const;
  void place_constants();
  void write_line();
  void append(Inst inst, u32 b);
  void make(const Made& made, u32 b);

  std::vector<VReg> register_;  // by value
  std::vector<Inst> made_;      // of the value at hand
  std::vector<Inst> reversed_;
  std::vector<u32> begins_;  // by block: in reversed_
  std::vector<u32> table_;   // of constants, by hash: index into remats_
  std::vector<Made> remats_;
  std::vector<u32> remat_of_;  // by virtual register: index into remats_
  std::vector<u32> pending_;   // remats_ that the value at hand wants
  std::vector<u32> dominator_;
  VReg run_ = none;
};

}  // namespace skep::vm::backend
