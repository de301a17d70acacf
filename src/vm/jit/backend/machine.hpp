// Machine form: instructions of one CPU over virtual registers, as the allocator sees them.
//
// An instruction has a few operands with a place for each role (a, b, address base and index, ...), at most one
// result, and registers it destroys. What `op` means is the affair of the CPU's selector and emitter; live, bundle,
// allocate, split and resolve know only operands, results and clobbers, and therefore serve every CPU.
//
// Positions: instruction i reads at 2i and writes at 2i+1. A register is busy over half-open ranges of positions.
// An operand that is read early ends at 2i, so the result (2i+1) may take its register; a late one ends at 2i+1.
// Clobbers are busy over [2i, 2i+1).
#pragma once
#include <skep/types.hpp>
#include <span>
#include <vector>

#include "vm/jit/ir.hpp"

namespace skep::vm::backend {

using VReg = u32;
inline constexpr u32 none = ~u32{0};

/// Where a value is: a register, a stack slot, or nowhere because it is made where it is needed.
struct Loc {
  enum Kind : u8 { nowhere, reg, slot, remat };
  u32 word = 0;  // kind in the top byte

  static constexpr Loc of(Kind kind, u32 number) { return {u32{kind} << 24 | number}; }
  constexpr Kind kind() const { return static_cast<Kind>(word >> 24); }
  constexpr u32 number() const { return word & 0xffffff; }
  constexpr bool operator==(const Loc&) const = default;
};

/// How an instruction wants an operand.
enum class Use : u8 {
  early,  ///< in a register, read before anything is written
  late,   ///< in a register that neither result nor clobbers may take
  any,    ///< early, in a register or a stack slot
  any_late,
  fixed,  ///< moved to `fixed` just before
};

struct Operand {
  VReg vreg = none;
  Use use = Use::early;
  u8 fixed = 0;
  u32 inst = 0;
  u32 next = none;  ///< of the same vreg, earlier in the code
  Loc loc;          ///< after allocation
};

/// How an instruction writes its result.
enum class Def : u8 { late, early, fixed };

inline constexpr u8 absent = 0xff;

struct Inst {
  u8 op = 0;   ///< of the CPU's own list
  u8 sub = 0;  ///< which arithmetic, which form: as `op` says
  u8 width = 64;
  u8 bits = 64;
  ir::Condition condition = ir::Condition::eq;
  u8 compare = 0;  ///< the form of a comparison
  bool sign = false, flag = false;
  u8 scale = 0;        ///< log2 of what the index is multiplied with
  bool frame = false;  ///< the address is in the function's frame, at disp
  u8 count = 0;        ///< operands
  u8 a = absent, b = absent, base = absent, index = absent, x = absent, y = absent;  ///< places among the operands
  u8 tied = absent, tied_too = absent;  ///< operands whose register the result would best take
  Def def_kind = Def::late;
  u8 def_fixed = 0;
  u32 first = 0;  ///< operand
  VReg def = none;
  Loc def_loc;
  u32 clobbers = 0;  ///< registers, as bits
  s32 disp = 0;
  u32 target = 0;  ///< function, table: as `op` says
  s64 imm = 0;
};

/// A value that costs nothing to keep: it is made again where it is needed.
enum class Remat : u8 { no, constant, frame };

struct Register {       // a virtual one
  u32 uses = none;      ///< last Operand
  u32 def_inst = none;  ///< none: phi, parameter, or a rematerialised value that needs no register
  u32 def_block = none;
  Remat remat = Remat::no;
  bool is_phi = false, is_parameter = false;
  s64 imm = 0;
  u32 ranges_first = 0, ranges_count = 0;
};

struct Range {
  u32 from, to;
};

struct Phi {
  VReg def = none;
  u32 block = 0;
  u32 first = 0;  ///< of its operands in Code::phi_operands, one per predecessor of the block
};

/// A block in the line.
struct Block {
  ir::BlockId source = ir::no_block;            ///< no_block: on an edge that was split
  u32 first = 0, last = 0;                      ///< instructions [first, last)
  u32 predecessors = 0, predecessor_count = 0;  ///< in Code::edges; IR order
  u32 successors = 0, successor_count = 0;
  u32 loop = none;
  u32 depth = 0;
  u32 end_of_loop = 0;  ///< loop headers: one behind the loop's last block in the line
  float frequency = 1;  ///< expected executions per call
  bool header = false;
};

struct Loop {
  u32 parent = none;
  u32 header = none;
  u32 first = 0, last = 0;  ///< blocks [first, last) in the line
};

/// One function on its way.
struct Code {
  std::vector<Block> blocks;
  std::vector<u32> edges;
  std::vector<Loop> loops;
  std::vector<u32> place;  ///< of an IR block in `blocks`; none: unreachable
  std::vector<Inst> insns;
  std::vector<Operand> operands;
  std::vector<Register> registers;
  std::vector<Phi> phis;
  std::vector<VReg> phi_operands;
  std::vector<Range> ranges;
  std::vector<VReg> parameters;  ///< in the order of the machine's argument registers; none: not used
  u32 frame_bytes = 0;
  u32 calls = 0;

  std::span<const u32> predecessors(const Block& b) const {
    return {edges.data() + b.predecessors, b.predecessor_count};
  }
  std::span<const u32> successors(const Block& b) const { return {edges.data() + b.successors, b.successor_count}; }
  std::span<const Range> ranges_of(VReg v) const {
    return {ranges.data() + registers[v].ranges_first, registers[v].ranges_count};
  }
  const Operand& operand(const Inst& inst, u8 place_) const { return operands[inst.first + place_]; }
  Loc loc(const Inst& inst, u8 place_) const { return operands[inst.first + place_].loc; }
  VReg new_register() {
    registers.emplace_back();
    return static_cast<VReg>(registers.size() - 1);
  }
};

/// What the allocator must know of a CPU.
struct Registers {
  std::span<const u8> order;      ///< to allocate from, most welcome first
  u32 saved = 0;                  ///< callee-saved ones, as bits
  std::span<const u8> arguments;  ///< where parameters arrive: run, r1..r5
};

}  // namespace skep::vm::backend
