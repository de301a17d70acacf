// The few instruction codes the loader must recognise to relocate. Private to this room.
// Source: RFC 9669, sections 4 and 5; include/uapi/linux/bpf.h for the source-register words.
#pragma once
#include <skep/insn.hpp>

namespace skep::spec::code {

inline constexpr u8 class_mask = 0x07, class_ld = 0x00, class_ldx = 0x01, class_st = 0x02, class_stx = 0x03,
                    class_alu = 0x04, class_alu64 = 0x07;
inline constexpr u8 source_register = 0x08;
inline constexpr u8 size_mask = 0x18, size_w = 0x00, size_h = 0x08, size_b = 0x10, size_dw = 0x18;
inline constexpr u8 mode_mask = 0xe0, mode_mem = 0x60, mode_mem_signed = 0x80;
inline constexpr u8 ld_imm64 = 0x18, call = 0x85;

// What the source register of ld_imm64 says about its immediate.
inline constexpr u8 src_map = 1, src_map_value = 2, src_btf_id = 3, src_function = 4;
// What the source register of call says about its target.
inline constexpr u8 call_helper = 0, call_function = 1, call_kfunc = 2;

}  // namespace skep::spec::code
