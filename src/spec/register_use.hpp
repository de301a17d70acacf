// Which registers of the probed function a kprobe program reads, seen in its instructions.
//
// A hook that stands in for a function can fill some of its registers. Whether that is enough is a question about the
// program, not about the function: a program that never reads the third argument does not miss it. The context is
// followed from r1 through copies, additions, spills and joins; where it gets out of sight, every register counts as
// read.
#pragma once
#include <skep/spec.hpp>
#include <span>
#include <string_view>
#include <vector>

namespace skep::spec {

struct RegisterUse {
  bool everything = false;                     ///< the context got out of sight
  u32 words = 0;                               ///< bit n: the word at offset 8 * n of pt_regs is read
  std::vector<std::string_view> of_current{};  ///< helpers called that speak of the current task, by name

  bool reads(u32 offset) const noexcept { return everything || (words >> (offset / 8) & 1) != 0; }
};

/// `insns`: of a program of type kprobe, from its entry on.
RegisterUse register_use(std::span<const Insn> insns);

}  // namespace skep::spec
