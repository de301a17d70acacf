// Writing a cookie into a program: each call becomes a load of a 64-bit number.
#include "kernel/cookies.hpp"

#include <algorithm>
#include <vector>

#include "catalog/helpers.hpp"
#include "isa/isa.hpp"
#include "kernel/rewrite.hpp"

namespace skep::kernel {

namespace {

bool is_question(const Insn& insn) noexcept {
  return insn.code == isa::code_call && insn.src == isa::call_src_helper &&
         insn.imm == static_cast<s32>(catalog::HelperId::get_attach_cookie);
}

}  // namespace

bool asks_for_cookie(const ProgramSpec& program) noexcept { return std::ranges::any_of(program.insns, is_question); }

Result<void> write_cookie(ProgramSpec& program, u64 cookie) {
  const Insn low{.code = isa::code_ld_imm64, .imm = static_cast<s32>(cookie)};
  const Insn high{.imm = static_cast<s32>(cookie >> 32)};
  std::vector<Insertion> lower_halves;
  std::vector<bool> is_high;  // by instruction of the new program
  for (u32 at = 0; at < program.insns.size(); ++at) {
    const bool found = is_question(program.insns[at]);
    if (found) lower_halves.push_back({at, low}), is_high.push_back(false);
    is_high.push_back(found);
  }
  SKEP_TRY(insert(program, lower_halves));
  for (std::size_t at = 0; at < is_high.size(); ++at)
    if (is_high[at]) program.insns[at] = high;
  return {};
}

}  // namespace skep::kernel
