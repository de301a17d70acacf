// Moving instructions and everything that names them.
#include "kernel/rewrite.hpp"

#include <fmt/core.h>

#include <limits>
#include <vector>

#include "isa/isa.hpp"

namespace skep::kernel {

namespace {

/// Where every old instruction went.
struct Moved {
  std::vector<u32> self;    ///< its own new index
  std::vector<u32> target;  ///< the new index of whoever jumps to it: the inserted instruction where there is one
};

Moved plan(u32 count, std::span<const Insertion> insertions) {
  Moved moved;
  moved.self.resize(count + 1);
  moved.target.resize(count + 1);
  std::size_t next = 0;
  for (u32 i = 0; i <= count; ++i) {
    moved.target[i] = i + static_cast<u32>(next);
    if (next < insertions.size() && insertions[next].before == i) ++next;
    moved.self[i] = i + static_cast<u32>(next);
  }
  return moved;
}

Result<s64> new_distance(const Moved& moved, u32 at, s64 distance) {
  const s64 target = s64{at} + 1 + distance;
  if (target < 0 || target >= static_cast<s64>(moved.self.size()))
    return fail(Code::malformed, fmt::format("instruction {}: jumps to {}, outside the program", at, target));
  return s64{moved.target[static_cast<std::size_t>(target)]} - moved.self[at] - 1;
}

/// Rewrites the distance in one instruction, if it holds one.
Result<void> retarget(const Moved& moved, u32 at, Insn& insn) {
  const u8 cls = isa::class_of(insn);
  if (cls != isa::class_jmp && cls != isa::class_jmp32) return {};
  if (insn.code == isa::code_exit) return {};
  const bool local_call = insn.code == isa::code_call && insn.src == isa::call_src_local;
  if (insn.code == isa::code_call && !local_call) return {};
  if (local_call || insn.code == isa::code_gotol) {
    insn.imm = static_cast<s32>(SKEP_TRY(new_distance(moved, at, insn.imm)));
    return {};
  }
  const s64 distance = SKEP_TRY(new_distance(moved, at, insn.off));
  if (distance < std::numeric_limits<s16>::min() || distance > std::numeric_limits<s16>::max())
    return fail(Code::unsupported, fmt::format("instruction {}: the jump would be longer than 32767 instructions", at));
  insn.off = static_cast<s16>(distance);
  return {};
}

}  // namespace

Result<void> insert(ProgramSpec& program, std::span<const Insertion> insertions) {
  if (insertions.empty()) return {};
  const u32 count = static_cast<u32>(program.insns.size());
  const Moved moved = plan(count, insertions);
  std::vector<Insn> out(moved.self[count]);
  for (u32 i = 0; i < count; ++i) {
    Insn insn = program.insns[i];
    SKEP_TRY(retarget(moved, i, insn));
    out[moved.self[i]] = insn;
    if (isa::is_ld_imm64(insn) && i + 1 < count) {  // its second slot is data, not an instruction
      ++i;
      out[moved.self[i]] = program.insns[i];
    }
  }
  for (const Insertion& insertion : insertions)
    if (insertion.before < count) out[moved.target[insertion.before]] = insertion.insn;
  program.insns = std::move(out);
  const auto inside = [count](u32 index) { return index <= count ? index : count; };
  for (Reference& reference : program.references) {
    reference.insn = moved.self[inside(reference.insn)];
    if (reference.kind == Reference::Kind::function) reference.addend = moved.target[inside(reference.addend)];
  }
  for (CoreRelocation& relocation : program.relocations) relocation.insn = moved.self[inside(relocation.insn)];
  for (FunctionInfo& function : program.functions) function.insn = moved.target[inside(function.insn)];
  for (SourceLine& line : program.lines) line.insn = moved.target[inside(line.insn)];
  return {};
}

void prepend(ProgramSpec& program, std::span<const Insn> head) {
  const u32 shift = static_cast<u32>(head.size());
  program.insns.insert(program.insns.begin(), head.begin(), head.end());
  for (Reference& reference : program.references) {
    reference.insn += shift;
    if (reference.kind == Reference::Kind::function) reference.addend += shift;
  }
  for (CoreRelocation& relocation : program.relocations) relocation.insn += shift;
  for (FunctionInfo& function : program.functions) function.insn += shift;
  for (SourceLine& line : program.lines) line.insn += shift;
}

}  // namespace skep::kernel
