// Delta debugging over instructions: halves, quarters, ... single instructions, until nothing more can go.
//
// Jumps, calls and addresses of functions are kept as absolute targets while instructions are taken away; what led to
// a removed instruction leads to the one behind it.
// Source: Zeller, Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (2002).
#include "shrink.hpp"

#include <algorithm>
#include <optional>

#include "isa/isa.hpp"

namespace skep::differential {
namespace {

using isa::Form;

/// How far instruction `insn` reaches, when it names another one.
std::optional<s64> distance_of(const Insn& insn) {
  if (insn.code == 0x18) return insn.src == 4 ? std::optional<s64>(insn.imm) : std::nullopt;
  const auto op = isa::decode(insn);
  if (!op) return std::nullopt;
  const Form form = isa::row(*op).form;
  if (form == Form::call_local) return insn.imm;
  return isa::is_jump(form) ? std::optional<s64>(isa::jump_distance(form, insn)) : std::nullopt;
}
void set_distance(Insn& insn, s64 distance) {
  const bool in_imm = insn.code == 0x18 || insn.code == 0x85 || insn.code == 0x06;
  if (in_imm)
    insn.imm = static_cast<s32>(distance);
  else
    insn.off = static_cast<s16>(distance);
}

/// The program without instructions begin..end; nullopt where that would split one of two slots.
std::optional<RandomProgram> without(const RandomProgram& program, std::size_t begin, std::size_t end) {
  const auto& insns = program.insns;
  std::vector<bool> is_tail(insns.size() + 1, false);
  for (std::size_t i = 0; i + 1 < insns.size(); i++)
    if (insns[i].code == 0x18) is_tail[++i] = true;
  if (is_tail[begin] || (end < insns.size() && is_tail[end])) return std::nullopt;
  const auto moved = [&](s64 at) {
    if (at <= static_cast<s64>(begin)) return at;
    return at >= static_cast<s64>(end) ? at - static_cast<s64>(end - begin) : static_cast<s64>(begin);
  };
  RandomProgram out = program;
  out.insns.clear();
  for (std::size_t i = 0; i < insns.size(); i++) {
    if (i >= begin && i < end) continue;
    Insn insn = insns[i];
    if (const auto distance = is_tail[i] ? std::nullopt : distance_of(insn))
      set_distance(insn, moved(static_cast<s64>(i) + 1 + *distance) - moved(static_cast<s64>(i)) - 1);
    out.insns.push_back(insn);
  }
  out.functions.clear();
  for (const u32 at : program.functions) {
    const auto to = static_cast<u32>(moved(at));
    if (to != 0 && to < out.insns.size() && (out.functions.empty() || out.functions.back() != to))
      out.functions.push_back(to);
  }
  return out;
}

}  // namespace

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
      if (distance_of(program.insns[i]) || program.insns[i].code == 0x85 || isa::class_of(program.insns[i]) < 4)
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
