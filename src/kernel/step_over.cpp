// See step_over.hpp.
#include "kernel/step_over.hpp"

#include <algorithm>

namespace skep::kernel {

namespace {

/// Without the prefix: jumps, calls and nop, which the kernel performs itself; returns, behind which it does not put
/// the instruction pointer right; popf, for which it leaves the trap flag as it is.
bool is_taken_for_a_jump(u8 opcode) noexcept {
  constexpr u8 others[] = {0x90, 0x9d, 0xc2, 0xc3, 0xca, 0xcb, 0xe8, 0xe9, 0xeb};
  return (opcode & 0xf0) == 0x70 || std::ranges::find(others, opcode) != std::end(others);
}

/// Without the prefix no instruction of a program in 64-bit mode, or one that it may not have.
bool is_refused(u8 opcode) noexcept {
  constexpr u8 refused[] = {0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x62,
                            0x6c, 0x6d, 0x6e, 0x6f, 0x9a, 0xcc, 0xcd, 0xce, 0xcf, 0xd4, 0xd5, 0xd6, 0xe4, 0xe5,
                            0xe6, 0xe7, 0xea, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf4, 0xfa, 0xfb};
  return std::ranges::find(refused, opcode) != std::end(refused);
}

}  // namespace

StepOver step_over(const elf::InsnBytes& bytes) noexcept {
#if defined(__x86_64__)
  const elf::X86Insn insn = elf::x86_insn(bytes);
  if (!insn.is_vector) return StepOver::right;
  const u8 opcode = bytes[insn.opcode_at];
  if (is_taken_for_a_jump(opcode)) return StepOver::wrong;
  const bool is_move_to_segment = opcode == 0x8e && (bytes[insn.modrm_at()] >> 3 & 7) == 2;  // which masks interrupts
  return is_refused(opcode) || is_move_to_segment ? StepOver::refused : StepOver::right;
#else
  static_cast<void>(bytes);
  return StepOver::right;
#endif
}

}  // namespace skep::kernel
