// See step_over.hpp.
#include "kernel/step_over.hpp"

#include <algorithm>

namespace skep::kernel {

namespace {

constexpr u8 evex = 0x62, vex3 = 0xc4, vex2 = 0xc5;

/// The last opcode byte of a vector instruction stands so far behind its first; 0: it is none.
std::size_t opcode_distance(u8 first) noexcept {
  switch (first) {
    case vex2:
      return 2;
    case vex3:
      return 3;
    case evex:
      return 4;
    default:
      return 0;
  }
}

/// Segments, and the width of addresses: others may not stand before a vector instruction.
bool is_prefix(u8 byte) noexcept {
  constexpr u8 prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x67};
  return std::ranges::find(prefixes, byte) != std::end(prefixes);
}

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

StepOver step_over(std::span<const std::byte> code) noexcept {
#if defined(__x86_64__)
  std::size_t at = 0;
  while (at < code.size() && is_prefix(static_cast<u8>(code[at]))) ++at;
  if (at == code.size()) return StepOver::right;
  const std::size_t distance = opcode_distance(static_cast<u8>(code[at]));
  if (distance == 0 || at + distance >= code.size()) return StepOver::right;
  const u8 opcode = static_cast<u8>(code[at + distance]);
  if (is_taken_for_a_jump(opcode)) return StepOver::wrong;
  return is_refused(opcode) ? StepOver::refused : StepOver::right;
#else
  static_cast<void>(code);
  return StepOver::right;
#endif
}

}  // namespace skep::kernel
