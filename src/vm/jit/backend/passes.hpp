// The passes between the intermediate form and bytes, in the order they run. See backend.hpp for the story.
#pragma once
#include <string>

#include "vm/jit/backend/allocation.hpp"
#include "vm/jit/backend/backend.hpp"
#include "vm/jit/backend/machine.hpp"

namespace skep::vm::backend {

/// Fills blocks, edges, loops and place.
void order_blocks(const ir::Function& f, Code& code);

/// Fills insns, operands, registers, phis.
void select_x86_64(const ir::Function& f, const Target& target, Code& code);
void select_arm64(const ir::Function& f, const Target& target, Code& code);

/// Fills the ranges of every virtual register. False: too much for this tier.
[[nodiscard]] bool find_live_ranges(Code& code);

/// Gives every virtual register, or every piece of it, a register or a slot.
void allocate(Code& code, const Registers& registers, Allocation& allocation);

/// Writes the places into the operands and lists the moves that connect them.
void resolve(Code& code, const Registers& registers, Allocation& allocation);

/// The whole back end of one CPU.
Result<Compiled> emit_x86_64(const ir::Module& module, const Target& target);
Result<Compiled> emit_arm64(const ir::Module& module, const Target& target);

/// An AllocationCheck.
std::string verify_allocation(const Code& code, const Registers& registers, const Allocation& allocation);

}  // namespace skep::vm::backend
