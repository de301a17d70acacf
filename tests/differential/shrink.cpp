// Delta debugging over instructions: halves, quarters, ... single instructions, until nothing more can go.
//
// Source: Zeller, Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002).
#include "shrink.hpp"

#include "edits.hpp"
#include "isa/isa.hpp"

namespace skep::differential {

RandomProgram shrink(RandomProgram program, const std::function<bool(const RandomProgram&)>& still_fails,
                     u32 attempts) {
  const auto better = [&](const RandomProgram& candidate) {
    if (attempts == 0) return false;
    attempts--;
    if (!still_fails(candidate)) return false;
    program = candidate;
    return true;
  };
  for (bool changed = true; changed && attempts != 0;) {
    changed = false;
    for (std::size_t length = std::max<std::size_t>(program.insns.size() / 2, 1); length != 0; length /= 2)
      for (std::size_t at = 0; at + length <= program.insns.size();) {
        const auto candidate = without(program, at, at + length);
        if (candidate && better(*candidate))
          changed = true;
        else
          at++;
      }
    for (std::size_t i = 0; i < program.insns.size(); i++) {
      if (program.insns[i].code == 0x18) {
        i++;
        continue;
      }
      if (names_another(program.insns[i]) || program.insns[i].code == 0x85 || isa::class_of(program.insns[i]) < 4)
        continue;
      for (const s32 simple : {0, 1}) {
        if (program.insns[i].imm == simple) break;
        RandomProgram candidate = program;
        candidate.insns[i].imm = simple;
        if (better(candidate)) {
          changed = true;
          break;
        }
      }
    }
  }
  return program;
}

}  // namespace skep::differential
