// Instructions put before the refused one, by remedy, each judged by the verifier.
#include "explain/insn_fix.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "isa/isa.hpp"
#include "verify/explain.hpp"

namespace skep::explain {

using verify::Remedy;

namespace {
constexpr u8 code_mov_imm = 0xb7, code_jne_imm = 0x55, code_jle_imm = 0xb5, code_and_imm = 0x57;

Insn mov(u32 reg, s32 value) {
  Insn i;
  i.code = code_mov_imm;
  i.dst = static_cast<u8>(reg) & 0xf;
  i.imm = value;
  return i;
}

Insn jump_over(u8 code, u32 reg, s32 value, s16 count) {
  Insn i = mov(reg, value);
  i.code = code;
  i.off = count;
  return i;
}

Insn exit() {
  Insn i;
  i.code = isa::code_exit;
  return i;
}

struct Try {
  std::vector<Insn> added;
  std::string_view what;
};

std::vector<Try> tries(const verify::Diagnosis& d) {
  const u32 reg = static_cast<u32>(std::max(d.facts.reg, 0));
  if (d.facts.reg < 0 && d.remedy != Remedy::return_in_range) return {};
  const s32 most = static_cast<s32>(std::min<u64>(d.facts.region_bytes, 1u << 29));
  switch (d.remedy) {
    case Remedy::check_null:
      return {{{jump_over(code_jne_imm, reg, 0, 2), mov(0, 0), exit()}, "leave where the pointer is NULL"}};
    case Remedy::bound_size:
      if (most == 0) return {};
      return {{{jump_over(code_jle_imm, reg, most, 1), mov(reg, most)}, "clamp the length"},
              {{jump_over(code_jle_imm, reg, most, 2), mov(0, 0), exit()}, "leave where the length is too large"}};
    case Remedy::bound_index:
      if (d.facts.region_bytes == 0) return {};
      return {{{jump_over(code_jle_imm, reg, static_cast<s32>(std::max<s64>(most - 8, 0)), 2), mov(0, 0), exit()},
               "leave where the offset is too large"}};
    case Remedy::initialise:
      return {{{mov(reg, 0)}, "give the register a value"}};
    case Remedy::return_in_range: {
      Insn mask = mov(0, static_cast<s32>(d.facts.high));
      mask.code = code_and_imm;
      return {{{mask}, "keep the result in its range"}, {{mov(0, static_cast<s32>(d.facts.low))}, "return a constant"}};
    }
    default:
      return {};
  }
}
}  // namespace

std::optional<ProgramSpec> with_insns(const ProgramSpec& program, u32 at, const std::vector<Insn>& added) {
  ProgramSpec out = program;
  const s64 count = static_cast<s64>(added.size()), old = static_cast<s64>(program.insns.size());
  if (at >= old) return std::nullopt;
  out.insns.insert(out.insns.begin() + at, added.begin(), added.end());
  auto moved = [&](s64 index) { return index > at ? index + count : index; };  // of whoever jumps there
  for (s64 i = 0; i < old; i++) {
    const Insn before = program.insns[static_cast<std::size_t>(i)];
    if (isa::is_ld_imm64(before)) {
      i++;
      continue;
    }
    const u8 kind = isa::class_of(before);
    const bool local_call = before.code == isa::code_call && before.src == isa::call_src_local;
    if ((kind != isa::class_jmp && kind != isa::class_jmp32) || before.code == isa::code_exit ||
        (before.code == isa::code_call && !local_call))
      continue;
    const bool wide = local_call || before.code == isa::code_gotol;
    const s64 self = i >= at ? i + count : i;
    const s64 distance = moved(i + 1 + (wide ? before.imm : before.off)) - self - 1;
    Insn& insn = out.insns[static_cast<std::size_t>(self)];
    if (wide) {
      if (distance != static_cast<s32>(distance)) return std::nullopt;
      insn.imm = static_cast<s32>(distance);
    } else {
      if (distance != static_cast<s16>(distance)) return std::nullopt;
      insn.off = static_cast<s16>(distance);
    }
  }
  const u32 shift = static_cast<u32>(count);
  for (Reference& r : out.references) {
    if (r.insn >= at) r.insn += shift;
    if (r.kind == Reference::Kind::function && r.addend > at) r.addend += shift;
  }
  for (CoreRelocation& r : out.relocations)
    if (r.insn >= at) r.insn += shift;
  for (FunctionInfo& f : out.functions)
    if (f.insn > at) f.insn += shift;
  for (SourceLine& l : out.lines)
    if (l.insn > at) l.insn += shift;
  return out;
}

std::optional<InsnFix> find_insn_fix(const ProgramSpec& program, const verify::Refused& refused,
                                     const InsnJudge& judge) {
  if (refused.diagnosis == nullptr) return std::nullopt;
  for (const Try& t : tries(*refused.diagnosis)) {
    const u32 at = refused.rejection.insn;
    auto changed = with_insns(program, at, t.added);
    if (!changed || !judge(*changed)) continue;
    InsnFix fix{fmt::format("@@ instruction {} @@\n", at), std::string(t.what), *std::move(changed)};
    if (at > 0) fix.diff += fmt::format(" {}\n", verify::instruction_text(program, at - 1));
    for (u32 i = 0; i < t.added.size(); i++)
      fix.diff += fmt::format("+{}\n", verify::instruction_text(fix.program, at + i));
    fix.diff += fmt::format(" {}\n", verify::instruction_text(program, at));
    return fix;
  }
  return std::nullopt;
}

}  // namespace skep::explain
