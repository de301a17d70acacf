// What Linux makes of the instruction that a user probe hides.
//
// It runs a copy of it elsewhere, or performs it itself, and decides by its opcode which. Of a vector instruction (VEX,
// EVEX: AVX) it looks at the last opcode byte alone, which means something else without the prefix: AVX-512's memset
// begins with 62 e2 7d 48 7a c6 (vpbroadcastb), and 7a is a jump on parity. So that the instruction is never performed,
// and whatever the program computes is wrong from there, or the program is killed; nobody is told. Others are refused
// for the same reason, and where nobody has mapped the file yet, only when somebody does, which nobody is told either.
// Source: arch/x86/kernel/uprobes.c in Linux 5.4 to 7.2 (good_insns_64, branch_setup_xol_ops(),
// arch_uprobe_analyze_insn()); measured on 6.18 for every opcode.
#pragma once
#include <skep/types.hpp>

#include "elf/x86_insn.hpp"

namespace skep::kernel {

enum class StepOver : u8 {
  right,
  refused,  ///< the kernel sets no probe there
  wrong     ///< it does, and the program goes wrong
};

/// `bytes`: the instruction, with what follows it.
StepOver step_over(const elf::InsnBytes& bytes) noexcept;

}  // namespace skep::kernel
