// Programs made of programs: jumps, calls and addresses of functions still lead to what they led to.
#pragma once
#include <optional>

#include "program.hpp"

namespace skep::differential {

/// A jump, a call of a function or the address of one.
bool names_another(const Insn& insn);

/// Without the instructions begin..end; what led to one of them leads to the one behind. nullopt where that would split
/// an instruction of two slots.
std::optional<RandomProgram> without(const RandomProgram& program, std::size_t begin, std::size_t end);

/// The same without atomic operations that give the old value: each becomes a load, an operation that gives nothing (or
/// a store) and moves through stack that random programs leave alone. nullopt: there are none, or one that cannot be
/// put so.
std::optional<RandomProgram> without_fetches(const RandomProgram& program);

}  // namespace skep::differential
