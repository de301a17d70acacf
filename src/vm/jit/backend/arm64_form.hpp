// Machine instructions of AArch64 as the selector makes them and the emitter writes them, and its registers.
//
// Operands are always in registers; a place that is `absent` where a value is meant is the zero register. What
// machine.hpp calls `compare` says how operand b (or an address's index) is changed, an arm64::Modifier, and `scale`
// by how many bits. Memory is [base, disp] or [base, index].
#pragma once
#include "vm/jit/arm64.hpp"
#include "vm/jit/backend/machine.hpp"

namespace skep::vm::backend {

enum class A : u8 {
  label,      // start of a block
  jump,       // to the only successor
  branch,     // sub = ArmCompare; successor 0 if it holds, else 1
  select,     // sub = ArmCompare; x if it holds, else y changed as arm64::Else in `target` says
  alu,        // sub = arm64::Alu; a with b changed, or with imm
  shift,      // sub = arm64::Shift; a by b
  shift_imm,  // sub = arm64::Shift; a by imm
  extract,    // bits [imm, imm + bits) of a; sign
  insert,     // the low `bits` of a, at bit imm; sign
  extr,       // the low `width` of a:b shifted right by imm
  madd,       // x + a * b
  msub,       // x - a * b
  mull,       // a * b, of 32-bit numbers to 64 bits; sign
  mulh,       // upper half of a * b; sign
  divide,     // a by b; sign
  rev,        // a's low `bits` reversed
  count,      // flag: leading zeros of a, else set bits
  move,       // a's low `width`
  load,       // `bits` at memory; sign
  load_swapped,
  store,  // a to memory
  store_swapped,
  constant,          // imm
  blinded,           // imm, in two halves that are drawn at random
  frame,             // address of byte imm of the frame
  load_acquire,      // the atomic ones: [base] only
  store_release,     // a
  atomic,            // sub = ir::Atomic; memory op= a; the old value; flag: ordered
  exchange,          // a with memory
  compare_exchange,  // a expected, b desired
  call,              // imm = address
  call_local,        // target = function
  call_pointer,      // a (in x16); sign: leaves the frame and jumps
  ret,
  trap,
  switch_,  // a: index into the successors from 1 on
};

/// What a comparison compares: a with b changed, a with imm (a sum's immediate, or the negative of one); `zero`: a
/// with 0, for eq and ne; `test`: a & b, a & imm (a mask's immediate); `bit`: is bit imm of a set.
enum class ArmCompare : u8 { rr, ri, zero, test_rr, test_ri, bit };

// x16 and x17 are the emitter's own, x18 is the platform's, x29 and x30 are the frame record.
inline constexpr u8 arm_order[] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12,
                                   13, 14, 15, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28};
inline constexpr u8 arm_arguments[] = {0, 1, 2, 3, 4, 5};
inline constexpr u32 arm_saved = 0x1ff80000;  // x19-x28
inline constexpr Registers arm_registers{arm_order, arm_saved, arm_arguments};
inline constexpr u32 arm_clobbered = 0xffff;  // by calls, of those that are given away: x0-x15

constexpr arm64::Width arm_width(u32 bits) { return bits == 64 ? arm64::Width::w64 : arm64::Width::w32; }
constexpr arm64::Size arm_size(u32 bits) {
  return bits == 8 ? arm64::Size::b8 : bits == 16 ? arm64::Size::b16 : bits == 32 ? arm64::Size::b32 : arm64::Size::b64;
}

}  // namespace skep::vm::backend
