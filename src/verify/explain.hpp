// Putting refusals into words.
#pragma once
#include <skep/spec.hpp>
#include <string>

#include "isa/isa.hpp"

namespace skep::verify {

/// The instruction at `insn` as assembly, helpers and maps by name.
std::string instruction_text(const ProgramSpec& program, u32 insn);

}  // namespace skep::verify
