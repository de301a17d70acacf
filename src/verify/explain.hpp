// Putting refusals into words.
#pragma once
#include <skep/spec.hpp>
#include <string>

#include "isa/isa.hpp"

namespace skep::verify {

/// The instruction at `insn` as assembly, helpers and maps by name.
std::string instruction_text(const ProgramSpec& program, u32 insn);

/// Registers an instruction changes, as a mask; calls change r0 to r5.
u16 registers_written(const Insn& insn, isa::Form form);

}  // namespace skep::verify
