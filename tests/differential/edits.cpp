// Programs made of programs (see edits.hpp).
//
// Every instruction becomes some instructions or none. What names another one (a jump, a call of a function, the
// address of one) is made absolute first, and relative again when every instruction has its new place.
#include "edits.hpp"

#include <algorithm>

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

/// By instruction: whether it is the second slot of the one before; one more for the end.
std::vector<bool> tails_of(const std::vector<Insn>& insns) {
  std::vector<bool> is_tail(insns.size() + 1, false);
  for (std::size_t i = 0; i + 1 < insns.size(); i++)
    if (insns[i].code == 0x18) is_tail[++i] = true;
  return is_tail;
}

/// The program with `parts[i]` in the place of instruction i.
RandomProgram rebuilt(const RandomProgram& program, const std::vector<std::vector<Insn>>& parts) {
  const auto& insns = program.insns;
  const auto is_tail = tails_of(insns);
  std::vector<s64> place(insns.size() + 1, 0);
  for (std::size_t i = 0; i < insns.size(); i++) place[i + 1] = place[i] + static_cast<s64>(parts[i].size());
  RandomProgram out = program;
  out.insns.clear();
  for (std::size_t i = 0; i < insns.size(); i++) {
    if (parts[i].empty()) continue;
    out.insns.insert(out.insns.end(), parts[i].begin(), parts[i].end());
    const auto distance = is_tail[i] ? std::nullopt : distance_of(insns[i]);
    if (!distance) continue;
    const s64 to = std::clamp<s64>(static_cast<s64>(i) + 1 + *distance, 0, static_cast<s64>(insns.size()));
    set_distance(out.insns[static_cast<std::size_t>(place[i])], place[static_cast<std::size_t>(to)] - place[i] - 1);
  }
  out.functions.clear();
  for (const u32 at : program.functions) {
    const auto to = static_cast<u32>(place[at]);
    if (to != 0 && to < out.insns.size() && (out.functions.empty() || out.functions.back() != to))
      out.functions.push_back(to);
  }
  return out;
}

constexpr u8 store = 0x63, load = 0x61, wide = 0x18;  // of 32 bits; what makes them 64
constexpr s16 operand_at = -128, old_at = -136, expected_at = -144;

Insn insn(u32 code, u8 dst, u8 src, s32 off, s32 imm = 0) {
  return {static_cast<u8>(code), dst, src, static_cast<s16>(off), imm};
}
Insn keep(u8 reg, s16 at) { return insn(store | wide, 10, reg, at); }
Insn again(u8 reg, s16 at) { return insn(load | wide, reg, 10, at); }

/// Empty: this one cannot be put so.
std::vector<Insn> spelt_out(const Insn& atomic, Form form) {
  const u8 to = atomic.dst, from = atomic.src, size = atomic.code & wide;
  if (to == from || (form == Form::cmpxchg && (to == 0 || from == 0))) return {};
  const Insn read = insn(load | size, from, to, atomic.off), write = insn(store | size, to, from, atomic.off);
  if (form == Form::cmpxchg) {
    const u32 if_not_equal = size == wide ? 0x5d : 0x5e;
    return {keep(0, expected_at),
            keep(from, operand_at),
            read,
            keep(from, old_at),
            insn(if_not_equal, from, 0, 2),
            again(from, operand_at),
            write,
            again(from, operand_at),
            again(0, old_at)};
  }
  constexpr s32 exchange = 0xe1, fetch = 1;
  Insn operation = atomic;
  operation.imm &= ~fetch;
  return {keep(from, operand_at),
          read,
          keep(from, old_at),
          again(from, operand_at),
          atomic.imm == exchange ? write : operation,
          again(from, old_at)};
}

}  // namespace

bool names_another(const Insn& insn) { return distance_of(insn).has_value(); }

std::optional<RandomProgram> without(const RandomProgram& program, std::size_t begin, std::size_t end) {
  const auto is_tail = tails_of(program.insns);
  if (is_tail[begin] || is_tail[end]) return std::nullopt;
  std::vector<std::vector<Insn>> parts(program.insns.size());
  for (std::size_t i = 0; i < parts.size(); i++)
    if (i < begin || i >= end) parts[i] = {program.insns[i]};
  return rebuilt(program, parts);
}

std::optional<RandomProgram> without_fetches(const RandomProgram& program) {
  const auto is_tail = tails_of(program.insns);
  std::vector<std::vector<Insn>> parts(program.insns.size());
  bool any = false;
  for (std::size_t i = 0; i < parts.size(); i++) {
    parts[i] = {program.insns[i]};
    const auto op = is_tail[i] ? std::nullopt : isa::decode(program.insns[i]);
    if (!op) continue;
    const Form form = isa::row(*op).form;
    if (form != Form::atomic_fetch && form != Form::cmpxchg) continue;
    parts[i] = spelt_out(program.insns[i], form);
    if (parts[i].empty()) return std::nullopt;
    any = true;
  }
  return any ? std::optional(rebuilt(program, parts)) : std::nullopt;
}

}  // namespace skep::differential
