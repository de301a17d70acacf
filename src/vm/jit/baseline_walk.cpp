// What is asked of a program before its functions are written; see baseline_walk.hpp. Numbers are opcodes: 0x85 call,
// 0x8d callx, 0xe5 may_goto, 0x20 to 0x50 legacy packet loads, 0x95 exit, 0x05 and 0x06 jumps (RFC 9669, section 7).
#include "vm/jit/baseline_walk.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace skep::vm::jit {

std::vector<u32> function_starts(const Bytecode& bytecode) {
  std::vector<u32> starts = {0};
  for (const auto& callback : bytecode.callbacks) starts.push_back(callback.insn);
  const auto& insns = bytecode.insns;
  for (u32 i = 0; i < insns.size(); i++)
    if (insns[i].code == 0x85 && insns[i].src == isa::call_src_local)
      starts.push_back(static_cast<u32>(static_cast<s64>(i) + 1 + insns[i].imm));
  if (starts.size() == 1) return starts;
  std::sort(starts.begin(), starts.end());
  starts.erase(std::unique(starts.begin(), starts.end()), starts.end());
  return starts;
}

Needs needs_of(const Bytecode& bytecode, u32 begin, u32 end) {
  Needs needs;
  for (u32 i = begin; i < end; i++) {
    const Insn& insn = bytecode.insns[i];
    // Fields that hold no register are 0 or small kinds; r0..r5 need nothing, so those do no harm.
    needs.registers = static_cast<u16>(needs.registers | 1u << insn.dst | 1u << insn.src);
    switch (insn.code) {
      case 0x85:
      case 0x8d:
        needs.calls = true;
        if (insn.imm == isa::helper_tail_call && insn.src == 0) needs.own_words = true;
        break;
      case 0xe5:
        needs.may_goto = needs.own_words = true;
        break;
      case 0x20:
      case 0x28:
      case 0x30:
      case 0x40:
      case 0x48:
      case 0x50:
        needs.calls = needs.own_words = true;
        needs.registers |= 1u << 6;
        break;
      default:
        break;
    }
  }
  return needs;
}

Result<u32> target_within(const Bytecode& bytecode, u32 at, u32 begin, u32 end) {
  const s64 to = static_cast<s64>(at) + 1 + isa::jump_distance(isa::row(bytecode.ops[at]).form, bytecode.insns[at]);
  if (to >= begin && to < end) return static_cast<u32>(to);
  return fail(Code::unsupported, fmt::format("instruction {}: jumps to instruction {}, which is in another function; "
                                             "only the interpreter runs such a program",
                                             at, to));
}

bool runs_off(const Bytecode& bytecode, u32 end) noexcept {
  const u8 last = bytecode.insns[end - 1].code;
  return last != 0x95 && last != 0x05 && last != 0x06;
}

}  // namespace skep::vm::jit
