// One instruction of x86-64, performed elsewhere: what a breakpoint hides must run without being put back.
//
// Putting it back would let other threads pass unseen. So the first instructions that compilers give functions are
// performed here, on the registers; all others are copied to a scratch place and single-stepped there. A copy that
// refers to its own address is adjusted: its memory operand goes through a spare register, and what it leaves in the
// instruction pointer and on the stack is moved back. Source: Intel SDM volume 2, chapter 2; Linux
// arch/x86/kernel/uprobes.c (the idea of the spare register).
#pragma once
#include <sys/user.h>

#include <optional>
#include <skep/types.hpp>

#include "elf/x86_insn.hpp"

namespace skep::hook {

/// The breakpoint.
inline constexpr u8 int3 = 0xcc;

using elf::InsnBytes;

/// Whether a probe may stand here: no system call, breakpoint or return from interrupt, and nothing that shows the trap
/// flag.
bool may_probe(const InsnBytes& bytes) noexcept;

/// What performing an instruction does to memory: at most one word is pushed.
struct Emulated {
  bool pushes = false;
  u64 pushed = 0;  ///< at the new registers' rsp
};
/// Performs the instruction at `address` on `registers` (rip included). Nothing: it is none of the few. A push is left
/// to the caller.
std::optional<Emulated> emulate(const InsnBytes& bytes, u64 address, user_regs_struct& registers) noexcept;

/// An instruction as it runs in the scratch place.
struct Copy {
  InsnBytes bytes{};
  bool is_relative = true;  ///< a new instruction pointer is relative to the copy; else it is a place of the program's
  bool pushes_return = false;
  int spare = -1;  ///< a register that must hold `spare_value` meanwhile: 6 (rsi) or 7 (rdi)
  u64 spare_value = 0;
};
/// Nothing: it cannot run elsewhere (a vector instruction relative to its own address).
std::optional<Copy> copy_of(const InsnBytes& bytes, u64 address) noexcept;

}  // namespace skep::hook
