// Reading and making single instructions, for the passes of this room that move or replace them.
// Source: RFC 9669, sections 4 and 5.
#pragma once
#include <skep/insn.hpp>

namespace skep::compile::shape {

inline constexpr u8 class_ld = 0, class_ldx = 1, class_st = 2, class_stx = 3, class_alu32 = 4, class_jmp = 5,
                    class_jmp32 = 6, class_alu64 = 7;
inline constexpr u8 frame_register = 10;

constexpr u8 class_of(const Insn& i) { return i.code & 7; }
constexpr u8 operation(const Insn& i) { return i.code & 0xf0; }
constexpr bool from_register(const Insn& i) { return (i.code & 8) != 0; }
constexpr bool is_wide(const Insn& i) { return i.code == 0x18; }
constexpr bool is_call(const Insn& i) { return i.code == 0x85; }
constexpr bool is_helper_call(const Insn& i) { return i.code == 0x85 && i.src == 0; }
constexpr bool is_local_call(const Insn& i) { return i.code == 0x85 && i.src == 1; }
constexpr bool is_exit(const Insn& i) { return i.code == 0x95; }
/// ja with a 16-bit (05) or 32-bit (06) distance.
constexpr bool is_goto(const Insn& i) { return i.code == 0x05 || i.code == 0x06; }
constexpr bool is_branch(const Insn& i) {
  return (class_of(i) == class_jmp || class_of(i) == class_jmp32) && !is_call(i) && !is_exit(i) && i.code != 0x8d;
}
constexpr bool is_atomic(const Insn& i) { return class_of(i) == class_stx && (i.code & 0xe0) == 0xc0; }
constexpr bool is_plain_load(const Insn& i) {
  return class_of(i) == class_ldx && ((i.code & 0xe0) == 0x60 || (i.code & 0xe0) == 0x80);
}
constexpr bool is_signed_load(const Insn& i) { return (i.code & 0xe0) == 0x80; }
constexpr u32 access_bytes(const Insn& i) {
  constexpr u32 bytes[] = {4, 2, 1, 8};
  return bytes[(i.code >> 3) & 3];
}
/// Atomic operations whose result lands in a register: fetch, exchange (source register), compare (r0).
constexpr bool is_fetch(const Insn& i) { return is_atomic(i) && (i.imm & 1) != 0; }
constexpr bool is_compare_exchange(const Insn& i) { return is_atomic(i) && i.imm == 0xf1; }

constexpr Insn load(u8 size_code, u8 to, u8 from, s16 offset) {
  return {.code = static_cast<u8>(0x61 | size_code), .dst = to, .src = from, .off = offset};
}
constexpr Insn load_u64(u8 to, u8 from, s16 offset) { return {.code = 0x79, .dst = to, .src = from, .off = offset}; }
constexpr Insn store_u64(u8 to, s16 offset, u8 from) { return {.code = 0x7b, .dst = to, .src = from, .off = offset}; }
constexpr Insn move(u8 to, u8 from) { return {.code = 0xbf, .dst = to, .src = from}; }
constexpr Insn move_imm(u8 to, s32 value) { return {.code = 0xb7, .dst = to, .imm = value}; }
constexpr Insn add_imm(u8 to, s32 value) { return {.code = 0x07, .dst = to, .imm = value}; }
constexpr Insn shift_left(u8 reg, s32 bits) { return {.code = 0x67, .dst = reg, .imm = bits}; }
constexpr Insn shift_right(u8 reg, s32 bits, bool is_signed) {
  return {.code = static_cast<u8>(is_signed ? 0xc7 : 0x77), .dst = reg, .imm = bits};
}
constexpr Insn call(s32 helper) { return {.code = 0x85, .imm = helper}; }

}  // namespace skep::compile::shape
