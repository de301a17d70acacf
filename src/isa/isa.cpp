// The sentence behind a refused encoding.
#include "isa/isa.hpp"

#include "isa/jump_table.hpp"

namespace skep::isa {

std::string_view why_undecodable(const Insn& insn) noexcept {
  if (decode(insn)) return "it is a known instruction";
  if (insn.code == code_gotox || (insn.code == code_ld_imm64 && insn.src == imm64_src_jump_table))
    return "it jumps through a table (gotox), which is newer than Linux 6.18; build with -fno-jump-tables";
  if (detail::index.first[insn.code] == 255) return "the opcode is not in RFC 9669 nor among Linux's extensions";
  if (insn.dst >= register_count) return "the destination register is above r10";
  bool other_fields_fit = false;
  for (u8 i = detail::index.first[insn.code]; i != 255; i = detail::index.next[i]) {
    const Row& r = detail::rows[i];
    if (r.src == any && insn.src >= register_count) return "the source register is above r10";
    Insn copy = insn;
    copy.dst = 0;
    other_fields_fit |= detail::fits(r, copy);
  }
  if (other_fields_fit) return "the destination register is not used here and must be 0";
  return "source register, offset or immediate hold a value this opcode does not have (unused fields must be 0)";
}

}  // namespace skep::isa
