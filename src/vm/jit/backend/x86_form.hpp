// Machine instructions of x86-64 as the selector makes them and the emitter writes them, and its registers.
//
// An instruction may name any registers; where the CPU overwrites its first operand the emitter puts a move before
// it (and picks commuted or three-operand forms to avoid that). Memory operands are base + index * 2^scale + disp.
#pragma once
#include "vm/jit/backend/machine.hpp"
#include "vm/jit/x86_64.hpp"

namespace skep::vm::backend {

enum class X : u8 {
  label,          // start of a block
  jump,           // to the only successor
  branch,         // compare; successor 0 if it holds, else 1
  select,         // compare; x if it holds, else y
  set,            // compare; 1 if it holds, else 0
  alu,            // sub = x86::Alu; a, then b, memory or imm
  alu_memory,     // sub = x86::Alu; memory with a or imm, `bits` wide; flag: locked
  lea,            // the address
  multiply,       // a by b or memory
  multiply_imm,   // a by imm
  multiply_high,  // upper half of a (in rdx with flag, else in rax) by b; sign
  shift_imm,      // sub = x86::Shift; a by imm
  shift,          // sub = x86::Shift; a by b; flag: three operands, else by rcx
  negate,         // a
  count,          // flag: leading zeros of a, else set bits
  swap,           // a's low `bits` reversed
  extend,         // a's low `bits` to `width`; sign
  load,           // `bits` at memory; sign
  load_swapped,
  store,             // a or imm (without a) to memory
  store_swapped,     // a
  constant,          // imm
  blinded,           // imm, in two halves that are drawn at random
  frame,             // address of byte imm of the frame
  divide,            // a (in rax) by b; sign; sub: 0 quotient, 1 remainder; flag: b is known not to be 0 (or -1)
  exchange,          // a with memory
  exchange_add,      // the old value, memory += a
  compare_exchange,  // a (in rax) expected, b desired
  fetch,             // sub = x86::Alu; the old value, memory op= a, by a loop; clobbers rdx
  call,              // imm = address; flag: every register but rax keeps its value
  call_local,        // target = function
  call_pointer,      // a (in rax); sign: leaves the frame and jumps
  ret,
  trap,
  switch_,  // a, which dies; its result is a register to compute in: index into the successors from 1 on
};

/// What a comparison compares: Inst::compare. a with b, a with imm, a with memory, memory with imm; `zero`: a with 0;
/// `bit`: is bit imm of a set. Memory operands are `bits` wide, a and b `width`.
enum class Compare : u8 { rr, ri, rm, mi, zero, test_rr, test_ri, test_mi, bit };

constexpr u8 number(x86::Reg r) { return static_cast<u8>(r); }
constexpr u32 bit(x86::Reg r) { return 1u << number(r); }

inline constexpr u8 x86_order[] = {0, 1, 2, 6, 7, 8, 9, 10, 11, 3, 5, 14, 15, 12, 13};  // rsp is never given away
inline constexpr u8 x86_arguments[] = {7, 6, 2, 1, 8, 9};
inline constexpr u32 x86_saved = 1u << 3 | 1u << 5 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 15;
inline constexpr Registers x86_registers{x86_order, x86_saved, x86_arguments};
inline constexpr u32 x86_clobbered = 0x0fc7;  // by calls: rax rcx rdx rsi rdi r8-r11

}  // namespace skep::vm::backend
