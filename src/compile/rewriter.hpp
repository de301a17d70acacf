// Replacing instructions of a program by sequences: everything that names an instruction moves along.
#pragma once
#include <map>
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <vector>

namespace skep::compile {

/// What one instruction becomes. It has no jumps; its own CO-RE relocation moves to instruction `relocated` in it.
struct Replacement {
  std::vector<Insn> insns;
  u32 relocated = 0;
};

/// Puts `insns` in front of a program. Jumps and calls are relative and move along.
void prepend(ProgramSpec& program, const std::vector<Insn>& insns);

/// Replaces single-slot instructions. Jumps to one land on the first of its sequence.
/// Errors: limit (a jump became too long).
Result<void> replace(ProgramSpec& program, const std::map<u32, Replacement>& replacements);

}  // namespace skep::compile
