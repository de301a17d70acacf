// The opcode bits of classic BPF, and the numbers of its ancillary loads. Source: include/uapi/linux/filter.h,
// include/uapi/linux/bpf_common.h.
#pragma once
#include <skep/types.hpp>

namespace skep::spec::classic {

// Classes (bits 0-2).
inline constexpr u16 ld = 0x00, ldx = 0x01, st = 0x02, stx = 0x03, alu = 0x04, jmp = 0x05, ret = 0x06, misc = 0x07;
// Sizes and modes of loads.
inline constexpr u16 w = 0x00, h = 0x08, b = 0x10;
inline constexpr u16 imm = 0x00, abs = 0x20, ind = 0x40, mem = 0x60, len = 0x80, msh = 0xa0;
// Operations; the second operand is k or X.
inline constexpr u16 add = 0x00, sub = 0x10, mul = 0x20, div = 0x30, or_ = 0x40, and_ = 0x50, lsh = 0x60, rsh = 0x70,
                     neg = 0x80, mod = 0x90, xor_ = 0xa0;
inline constexpr u16 ja = 0x00, jeq = 0x10, jgt = 0x20, jge = 0x30, jset = 0x40;
inline constexpr u16 k = 0x00, x = 0x08;
inline constexpr u16 ret_k = 0x00, ret_a = 0x10;
inline constexpr u16 tax = 0x00, txa = 0x80;

inline constexpr u16 class_of(u16 code) { return code & 0x07; }
inline constexpr u16 size_of(u16 code) { return code & 0x18; }
inline constexpr u16 mode_of(u16 code) { return code & 0xe0; }
inline constexpr u16 op_of(u16 code) { return code & 0xf0; }
inline constexpr bool uses_x(u16 code) { return (code & 0x08) != 0; }
inline constexpr u32 bytes_of(u16 code) { return size_of(code) == w ? 4 : size_of(code) == h ? 2 : 1; }

inline constexpr u32 scratch_words = 16;

/// Absolute loads from here on do not read the packet.
inline constexpr u32 ancillary_offset = 0xfffff000u;  // SKF_AD_OFF
/// From here on they read from the network header; below it and from here on, from the link header.
inline constexpr u32 network_offset = 0xfff00000u, link_offset = 0xffe00000u;  // SKF_NET_OFF, SKF_LL_OFF

// SKF_AD_*: a row is X(name, offset).
#define SKEP_CLASSIC_ANCILLARY(X) \
  X(protocol, 0)                  \
  X(pkttype, 4)                   \
  X(ifindex, 8)                   \
  X(nlattr, 12)                   \
  X(nlattr_nest, 16)              \
  X(mark, 20)                     \
  X(queue, 24)                    \
  X(hatype, 28)                   \
  X(rxhash, 32)                   \
  X(cpu, 36) X(alu_xor_x, 40) X(vlan_tag, 44) X(vlan_tag_present, 48) X(pay_offset, 52) X(random, 56) X(vlan_tpid, 60)

enum class Ancillary : u32 {
#define X(name, offset) name = offset,
  SKEP_CLASSIC_ANCILLARY(X)
#undef X
};

/// The kernel's name ("SKF_AD_VLAN_TAG" without its prefix, in small letters), or nullptr.
constexpr const char* name_of(Ancillary load) {
  switch (load) {
#define X(name, offset) \
  case Ancillary::name: \
    return #name;
    SKEP_CLASSIC_ANCILLARY(X)
#undef X
  }
  return nullptr;
}

}  // namespace skep::spec::classic
