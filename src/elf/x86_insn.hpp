// An instruction of x86-64, as far as probes must know it: where its parts are, and how long it is.
//
// Source: Intel SDM volume 2, chapter 2 and appendix A; what the opcodes do does not matter here.
#pragma once
#include <array>
#include <optional>
#include <skep/types.hpp>
#include <span>

namespace skep::elf {

/// As many bytes as an instruction may have, and one.
using InsnBytes = std::array<u8, 16>;

inline constexpr u32 longest_x86_insn = 15;

struct X86Insn {
  static constexpr u32 no_rex = 99;

  u32 rex_at = no_rex;     ///< index of the REX prefix
  u32 opcode_at = 0;       ///< of the last opcode byte
  u8 map = 1;              ///< 1: one byte, 2: 0f, 3: 0f 38, 4: 0f 3a; of vector instructions 5 and 6, too
  bool is_vector = false;  ///< VEX, EVEX
  bool is_16_bit = false;  ///< operands, by a prefix
  bool has_short_address = false;
  bool has_modrm = false;
  u32 immediate_bytes = 0;
  u32 length = 0;  ///< more than longest_x86_insn for what is none, and for what is not known here (APX)

  u32 modrm_at() const noexcept { return opcode_at + 1; }
};

X86Insn x86_insn(const InsnBytes& bytes) noexcept;

/// The last instruction of `code` that begins at or before `offset`, counted from its first byte. Nothing where the
/// code does not reach that far, or is none.
std::optional<u64> x86_insn_start(std::span<const std::byte> code, u64 offset) noexcept;

}  // namespace skep::elf
