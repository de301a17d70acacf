// Machine instructions of x86-64 as the selector makes them and the emitter writes them.
//
// An instruction may name any registers; where the CPU overwrites its first operand the emitter puts a move before
// it (and picks commuted or three-operand forms to avoid that). Memory operands are base + index * 2^scale + disp.
#pragma once
#include "vm/jit/backend/machine.hpp"

namespace skep::vm::backend {

enum class X : u8 {
  label,          // start of a block
  jump,           // to the only successor
  branch,         // compare; successor 0 if it holds, else 1
  select,         // compare; x if it holds, else y
  set,            // compare; 1 if it holds, else 0
  alu,            // sub = x86::Alu; a, then b, memory or imm
  alu_memory,     // sub = x86::Alu; memory with a or imm, `bits` wide
  lea,            // the address
  multiply,       // a by b or memory
  multiply_imm,   // a by imm
  multiply_high,  // upper half of a (in rdx or rax) by b; sign
  shift_imm,      // sub = x86::Shift; a by imm
  shift,          // sub = x86::Shift; a by b
  negate,         // a
  swap,           // a's low `bits` reversed
  extend,         // a's low `bits` to `width`; sign
  load,           // `bits` at memory; sign
  load_swapped,
  store,  // a or imm (flag) to memory
  store_swapped,
  constant,          // imm
  frame,             // address of byte imm of the frame
  divide,            // a (in rax) by b; sign; sub: 0 quotient, 1 remainder; flag: b is known not to be 0 (or -1)
  exchange,          // a with memory
  exchange_add,      // the old value, memory += a
  compare_exchange,  // a (in rax) expected, b desired
  fetch,             // sub = x86::Alu; the old value, memory op= a, by a loop; clobbers rdx
  call,              // imm = address
  call_local,        // target = function
  call_pointer,      // a (in rax)
  ret,
  trap,
  switch_,  // a, which dies: index into the successors from 1 on, bits = width of the bounds check
};

/// What a comparison compares: Inst::compare. a with b, a with imm, a with memory, memory with imm; `zero`: a with 0.
enum class Compare : u8 { rr, ri, rm, mi, zero, test_rr, test_ri, test_mi, bit };

}  // namespace skep::vm::backend
