// Instructions as text with the names of what they refer to: helpers, kernel functions, maps, subprograms, C lines.
//
// The text is the kernel's (isa/text.hpp), and `skep asm` reads it back: names of functions stand as labels, C lines
// as comments. What an object leaves open until it is loaded (maps, kernel symbols) is shown by its name.
#pragma once
#include <skep/spec.hpp>
#include <span>
#include <string>

namespace skep::spec {

/// One program of an object, one line an instruction, with index and opcode.
std::string listing(const ObjectSpec& object, const ProgramSpec& program);
/// Bare instructions: only helpers have names.
std::string listing(std::span<const Insn> insns);

}  // namespace skep::spec
