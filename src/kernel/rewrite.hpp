// Inserting instructions into a program without breaking what points at them.
//
// Jumps, local calls and the records beside the instructions (references, functions, lines) name places by index or
// distance. Insertion happens in front of an instruction: whoever jumped to it now meets the inserted one first.
#pragma once
#include <skep/spec.hpp>
#include <span>

namespace skep::kernel {

/// One instruction to insert in front of instruction `before`.
struct Insertion {
  u32 before = 0;
  Insn insn;
};

/// Inserts `insertions` (sorted by `before`, at most one for each place) into `program`.
/// Errors: unsupported when a jump would get longer than its field; malformed when one leads out of the program.
Result<void> insert(ProgramSpec& program, std::span<const Insertion> insertions);

/// Puts `head` in front of the program; its own jumps must stay inside it.
void prepend(ProgramSpec& program, std::span<const Insn> head);

}  // namespace skep::kernel
