// See x86_insn.hpp.
#include "elf/x86_insn.hpp"

#include <algorithm>
#include <cstring>

namespace skep::elf {
namespace {

constexpr u32 most_prefixes = 9;  // compilers pad with 7; so many more parts fit into InsnBytes

bool is_prefix(u8 byte) noexcept {
  constexpr u8 prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3};
  return std::ranges::find(prefixes, byte) != std::end(prefixes);
}

bool one_byte_has_modrm(u8 op) noexcept {
  if (op < 0x40) return (op & 7) < 4;
  if (op < 0x70) return op == 0x63 || op == 0x69 || op == 0x6b;
  if (op < 0x80) return false;
  if (op < 0x90) return true;
  if (op < 0xc0) return false;
  if (op < 0xd8) return op == 0xc0 || op == 0xc1 || op == 0xc6 || op == 0xc7 || (op >= 0xd0 && op < 0xd4);
  if (op < 0xe0) return true;
  return op == 0xf6 || op == 0xf7 || op == 0xfe || op == 0xff;
}

bool two_byte_has_modrm(u8 op) noexcept {
  if (op >= 0x80 && op < 0x90) return false;  // jcc
  if (op >= 0xc8 && op < 0xd0) return false;  // bswap
  if (op >= 0x30 && op < 0x38) return false;  // wrmsr ... getsec
  constexpr u8 without[] = {0x05, 0x06, 0x07, 0x08, 0x09, 0x0b, 0x0e, 0x77, 0xa0, 0xa1, 0xa2, 0xa8, 0xa9, 0xaa};
  return std::ranges::find(without, op) == std::end(without);
}

u32 one_byte_immediate(const X86Insn& insn, u8 op, u8 modrm, bool is_64_bit) noexcept {
  const u32 wide = insn.is_16_bit && !is_64_bit ? 2 : 4;
  const bool is_test = (modrm >> 3 & 7) < 2;  // of f6, f7: others have none
  if (op < 0x40) return (op & 7) == 4 ? 1 : (op & 7) == 5 ? wide : 0;
  if (op >= 0x70 && op < 0x80) return 1;
  if (op >= 0xa0 && op < 0xa4) return insn.has_short_address ? 4 : 8;
  if (op >= 0xb0 && op < 0xb8) return 1;
  if (op >= 0xb8 && op < 0xc0) return is_64_bit ? 8 : wide;
  if (op >= 0xe0 && op < 0xe8) return 1;
  switch (op) {
    case 0x6a:
    case 0x6b:
    case 0x80:
    case 0x82:
    case 0x83:
    case 0xa8:
    case 0xc0:
    case 0xc1:
    case 0xc6:
    case 0xcd:
    case 0xd4:
    case 0xd5:
    case 0xeb:
      return 1;
    case 0xc2:
    case 0xca:
      return 2;
    case 0xc8:
      return 3;
    case 0x68:
    case 0x69:
    case 0x81:
    case 0xa9:
    case 0xc7:
      return wide;
    case 0xe8:
    case 0xe9:
      return 4;
    case 0xf6:
      return is_test ? 1 : 0;
    case 0xf7:
      return is_test ? wide : 0;
    default:
      return 0;
  }
}

u32 two_byte_immediate(u8 op, bool is_vector, bool is_extraction) noexcept {
  if (op >= 0x80 && op < 0x90 && !is_vector) return 4;
  if (op == 0x78 && is_extraction) return 2;  // extrq, insertq
  constexpr u8 vector_bytes[] = {0x70, 0x71, 0x72, 0x73, 0xc2, 0xc4, 0xc5, 0xc6},
               other_bytes[] = {0x0f, 0xa4, 0xac, 0xba};
  const auto has = [op](const auto& list) { return std::ranges::find(list, op) != std::end(list); };
  return has(vector_bytes) || (!is_vector && has(other_bytes)) ? 1 : 0;
}

/// Bytes of a memory operand behind the ModRM byte.
u32 address_bytes(u8 modrm, u8 behind) noexcept {
  const u32 mod = modrm >> 6, rm = modrm & 7;
  if (mod == 3) return 0;
  const bool has_index = rm == 4;
  const bool is_absolute = mod == 0 && (rm == 5 || (has_index && (behind & 7) == 5));
  return (has_index ? 1 : 0) + (mod == 1 ? 1 : mod == 2 || is_absolute ? 4 : 0);
}

}  // namespace

X86Insn x86_insn(const InsnBytes& bytes) noexcept {
  X86Insn insn;
  u32 at = 0;
  bool is_extraction = false;  // of SSE4a, where the opcode is such a one
  for (; at < most_prefixes && is_prefix(bytes[at]); ++at) {
    is_extraction |= bytes[at] == 0x66 || bytes[at] == 0xf2;
    insn.is_16_bit |= bytes[at] == 0x66;
    insn.has_short_address |= bytes[at] == 0x67;
  }
  constexpr u8 rex2 = 0xd5, apx_map = 4;
  if (is_prefix(bytes[at]) || bytes[at] == rex2) {
    insn.length = longest_x86_insn + 1;
    return insn;
  }
  if ((bytes[at] & 0xf0) == 0x40) insn.rex_at = at++;
  insn.opcode_at = at;
  const u8 op = bytes[at];
  constexpr u8 vex2 = 0xc5, vex3 = 0xc4, evex = 0x62, escape = 0x0f;
  if (op == vex2 || op == vex3 || op == evex) {
    const u8 first = bytes[at + 1];
    insn.is_vector = true;
    insn.map = static_cast<u8>(1 + (op == vex2 ? 1 : op == vex3 ? first & 0x1f : first & 7));
    insn.opcode_at = at + (op == vex2 ? 2 : op == vex3 ? 3 : 4);
    insn.has_modrm = !(insn.map == 2 && bytes[insn.opcode_at] == 0x77);  // vzeroupper
  } else if (op != escape) {
    insn.has_modrm = one_byte_has_modrm(op);
  } else if (bytes[at + 1] == 0x38 || bytes[at + 1] == 0x3a) {
    insn.map = bytes[at + 1] == 0x38 ? 3 : 4;
    insn.opcode_at = at + 2;
    insn.has_modrm = true;
  } else {
    insn.map = 2;
    insn.opcode_at = at + 1;
    insn.has_modrm = two_byte_has_modrm(bytes[at + 1]);
  }
  if (op == evex && insn.map == 1 + apx_map) {
    insn.length = longest_x86_insn + 1;
    return insn;
  }
  const u8 opcode = bytes[insn.opcode_at], modrm = bytes[insn.modrm_at()];
  const bool is_64_bit = insn.rex_at != X86Insn::no_rex && (bytes[insn.rex_at] & 8) != 0;
  if (insn.map == 1) insn.immediate_bytes = one_byte_immediate(insn, opcode, modrm, is_64_bit);
  if (insn.map == 2) insn.immediate_bytes = two_byte_immediate(opcode, insn.is_vector, is_extraction);
  if (insn.map == 4) insn.immediate_bytes = 1;
  insn.length = insn.opcode_at + 1 + insn.immediate_bytes;
  if (insn.has_modrm && insn.modrm_at() + 1 < bytes.size())
    insn.length += 1 + address_bytes(modrm, bytes[insn.modrm_at() + 1]);
  return insn;
}

std::optional<u64> x86_insn_start(std::span<const std::byte> code, u64 offset) noexcept {
  if (offset >= code.size()) return std::nullopt;
  for (u64 at = 0; at < code.size();) {
    InsnBytes bytes{};
    std::memcpy(bytes.data(), code.data() + at, std::min<u64>(bytes.size(), code.size() - at));
    const u32 length = x86_insn(bytes).length;
    if (length > longest_x86_insn) return std::nullopt;
    if (at + length > offset) return at;
    at += length;
  }
  return std::nullopt;
}

}  // namespace skep::elf
