// The optimiser's intermediate form: SSA over 64-bit values, in basic blocks.
//
// build.cpp makes it from a verified program, the passes rewrite it, the emitters make machine code from it, and
// evaluate.cpp runs it (slowly, for tests). An instruction is its own value: `Value` is an index into
// Function::insns. Operands of all instructions share one pool, so an instruction is a small fixed record.
// Source: Braun et al., "Simple and Efficient Construction of SSA Form" (2013), for the shape of it.
#pragma once
#include <skep/types.hpp>
#include <span>
#include <string>
#include <vector>

namespace skep::vm::ir {

enum class Op : u8 {
#define SKEP_IR(name, operands, effect) name,
#include "vm/jit/ir.def"
#undef SKEP_IR
};

enum class Effect : u8 { pure, reads, writes, leaves };
inline constexpr u32 many = ~u32{0};

struct OpRow {
  const char* name;
  u32 operands;
  Effect effect;
};
constexpr OpRow row(Op op) {
  constexpr OpRow rows[] = {
#define SKEP_IR(name, operands, effect) {#name, operands, Effect::effect},
#include "vm/jit/ir.def"
#undef SKEP_IR
  };
  return rows[static_cast<u8>(op)];
}

/// Conditions of branch and select. set: (a & b) != 0; clear: (a & b) == 0.
enum class Condition : u8 { eq, ne, ult, ule, ugt, uge, slt, sle, sgt, sge, set, clear };
constexpr Condition inverse(Condition c) {
  constexpr Condition table[] = {Condition::ne,  Condition::eq,  Condition::uge,   Condition::ugt,
                                 Condition::ule, Condition::ult, Condition::sge,   Condition::sgt,
                                 Condition::sle, Condition::slt, Condition::clear, Condition::set};
  return table[static_cast<u8>(c)];
}
/// The condition of (b, a) that says the same as `c` of (a, b).
constexpr Condition mirrored(Condition c) {
  constexpr Condition table[] = {Condition::eq,  Condition::ne,  Condition::ugt, Condition::uge,
                                 Condition::ult, Condition::ule, Condition::sgt, Condition::sge,
                                 Condition::slt, Condition::sle, Condition::set, Condition::clear};
  return table[static_cast<u8>(c)];
}

enum class Atomic : u8 { add, or_, and_, xor_ };

using Value = u32;
using BlockId = u32;
inline constexpr Value no_value = ~Value{0};
inline constexpr BlockId no_block = ~BlockId{0};

struct Inst {
  enum Flag : u8 {
    sign = 1,     ///< load: sign-extend
    fetch = 2,    ///< atomic: the old value is the result
    steady = 2,   ///< load: what it reads is there and the same during the whole run, whoever asks where
    nonzero = 4,  ///< division: see ir.def
    stack = 8,    ///< load or store: touches only the function's own frame
    likely = 16,  ///< branch: successor 0 is the usual way
    unlikely = 32,
    cold = 64,   ///< call: see ir.def
    last = 128,  ///< call_pointer: see ir.def
  };
  Op op = Op::trap;
  u8 width = 64;  ///< 32 or 64: of arithmetic and comparisons
  u8 bits = 64;   ///< of memory accesses, extensions and byte swaps
  u8 flags = 0;
  Condition condition = Condition::eq;  ///< branch, select
  Atomic atomic = Atomic::add;
  u16 count = 0;  ///< operands
  u32 first = 0;  ///< of its operands in Function::operands
  BlockId block = no_block;
  s64 imm = 0;

  bool has(Flag flag) const { return (flags & flag) != 0; }
};

struct Block {
  std::vector<Value> insns;  ///< phis first, one that leaves last
  std::vector<BlockId> predecessors;
  std::vector<BlockId> successors;
};

/// One machine function: blocks[0] is the entry (it has no predecessors).
struct Function {
  std::vector<Inst> insns;
  std::vector<Value> operands;
  std::vector<Block> blocks;  ///< a block without insns is gone
  u32 frame_bytes = 0;        ///< memory of its own that is left after promotion; 16-byte aligned start

  std::span<const Value> operands_of(const Inst& inst) const { return {operands.data() + inst.first, inst.count}; }
  std::span<Value> operands_of(const Inst& inst) { return {operands.data() + inst.first, inst.count}; }
  std::span<const Value> operands_of(Value v) const { return operands_of(insns[v]); }
  std::span<Value> operands_of(Value v) { return operands_of(insns[v]); }
  bool is_constant(Value v) const { return insns[v].op == Op::constant; }
  bool is_constant(Value v, s64 imm) const { return is_constant(v) && insns[v].imm == imm; }

  /// A new instruction that stands nowhere yet.
  Value add(Inst inst, std::span<const Value> args) {
    inst.first = static_cast<u32>(operands.size());
    inst.count = static_cast<u16>(args.size());
    operands.insert(operands.end(), args.begin(), args.end());
    insns.push_back(inst);
    return static_cast<Value>(insns.size() - 1);
  }
};

/// A program: functions[0] is the entry, the others are what call_local names and callbacks point to.
struct Module {
  std::vector<Function> functions;
};

/// As text, for tests and `SKEP_JIT_DUMP`-like tools.
std::string print(const Function& function);
/// Empty when the rules of ir.hpp and ir.def hold (dominance, operand counts, phi operands, edges both ways); else
/// the first one that does not.
std::string check(const Function& function);
/// Runs functions[index] of the module on real memory. For tests: it is slow and checks nothing.
u64 evaluate(const Module& module, u32 index, void* run, std::span<const u64> parameters);

}  // namespace skep::vm::ir
