// A change of the instructions that makes a refused program verify, for programs whose source is not there.
//
// A few instructions before the refused one: a comparison with NULL, a clamp, a register set. Shown as assembly, and
// only when the changed program was verified. It says what the source must come to; nobody is meant to patch objects.
#pragma once
#include <functional>
#include <optional>
#include <string>

#include "verify/diagnosis.hpp"
#include "verify/verify.hpp"

namespace skep::explain {

/// Whether the changed program is accepted.
using InsnJudge = std::function<bool(const ProgramSpec&)>;

struct InsnFix {
  std::string diff;  ///< the instructions around the change, '+' before the new ones
  std::string what;
  ProgramSpec program;
};

std::optional<InsnFix> find_insn_fix(const ProgramSpec& program, const verify::Refused& refused,
                                     const InsnJudge& judge);

/// `added` before instruction `at`; jumps, calls, references and line information follow. Jumps to `at` go to the added
/// ones. None where a distance no longer fits.
std::optional<ProgramSpec> with_insns(const ProgramSpec& program, u32 at, const std::vector<Insn>& added);

}  // namespace skep::explain
