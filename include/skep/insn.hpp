// One eBPF instruction as it lies in memory (RFC 9669, section 3), little-endian hosts.
#pragma once
#include <skep/types.hpp>

namespace skep {

/// The basic 8-byte encoding. `ld_imm64` takes two of them: the second holds the upper half in `imm`.
struct Insn {
  u8 code = 0;
  u8 dst : 4 = 0;
  u8 src : 4 = 0;
  s16 off = 0;
  s32 imm = 0;

  friend bool operator==(const Insn&, const Insn&) = default;
};
static_assert(sizeof(Insn) == 8);

}  // namespace skep
