// Jumps through tables, which this instruction set does not have yet: how a program that has one is told from a damaged
// one. Compilers since LLVM 22 make `gotox` of a switch, and put its tables into a section of their own.
#pragma once
#include <skep/types.hpp>

namespace skep::isa {

inline constexpr u8 code_gotox = 0x0d;
/// Source field of an ld_imm64 that would take a table's address: no instruction has it, so the program is refused, and
/// no other program of its object.
inline constexpr u8 imm64_src_jump_table = 7;

}  // namespace skep::isa
